from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.preprocess.polarity import REFERENCE_S, Polarity, white_hot
from tests.conftest import real_data

RNG = np.random.default_rng(0)


def scene(name="ground", **settings):
    film = Scene(SceneSpec(name=name, frames=30, **settings))
    return [film.frame(k) for k in range(30)]


def followed(pictures, black_hot=False, fps=25.0):
    polarity = Polarity(black_hot)
    return [polarity.update(picture, k / fps) for k, picture in enumerate(pictures)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_black_hot_counts_are_inverted(dtype):
    picture = RNG.integers(0, np.iinfo(dtype).max, (40, 50), dtype, endpoint=True)
    assert np.array_equal(white_hot(picture, True), np.iinfo(dtype).max - picture)
    assert white_hot(picture, False) is picture


@pytest.mark.parametrize("name", ["sky", "ground", "sea", "crossing"])
def test_a_switched_camera_is_followed_there_and_back(name):
    pictures = [~picture if 10 <= k < 20 else picture for k, picture in enumerate(scene(name))]
    assert followed(pictures) == [10 <= k < 20 for k in range(30)]
    assert followed(pictures, black_hot=True) == [not 10 <= k < 20 for k in range(30)]


def test_burnt_in_text_that_stays_white_hides_no_switch():
    pictures = [np.right_shift(picture, 6).astype(np.uint8) for picture in scene()]
    pictures = [~picture if k >= 15 else picture for k, picture in enumerate(pictures)]
    for picture in pictures:
        cv2.putText(picture, "ALT 120 m  N 54 10", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    assert followed(pictures) == [k >= 15 for k in range(30)]


def test_a_uniform_sky_above_some_ground_hides_no_switch():
    pictures = [np.full((128, 160), 60, np.uint8) for _ in range(30)]
    ground = RNG.integers(90, 160, (40, 160)).astype(np.uint8)
    for picture in pictures:
        picture[88:] = cv2.blur(ground, (5, 5))
    assert followed([~picture if k >= 15 else picture for k, picture in enumerate(pictures)]) == [
        k >= 15 for k in range(30)
    ]


def test_a_switch_behind_a_closed_shutter_is_followed():
    pictures = [~picture if k >= 15 else picture for k, picture in enumerate(scene())]
    for k in range(10, 20):
        pictures[k] = np.full_like(pictures[k], 500)
    assert followed(pictures) == [k >= 20 for k in range(30)]
    assert REFERENCE_S < 10 / 5.0
    assert not any(followed(pictures, fps=5.0))  # closed for too long: the camera may have turned elsewhere


def test_a_switch_right_after_a_cut_is_followed():
    pictures = [*scene("sky")[:10], *scene("ground")[:20]]
    assert followed([~picture if k >= 12 else picture for k, picture in enumerate(pictures)]) == [
        k >= 12 for k in range(30)
    ]


def test_a_view_that_returns_has_the_polarity_it_had_whatever_happened_between():
    sky, ground = scene("sky")[:12], scene("ground")[:12]
    pictures = [*sky[:4], *ground[:2], *(~picture for picture in ground[2:6]), *sky[4:]]
    assert followed(pictures) == [6 <= k < 10 for k in range(18)]


def test_a_picture_from_before_a_step_back_in_time_is_forgotten():
    polarity, (first, *later) = Polarity(False), scene()
    assert not polarity.update(first, 5.0)
    assert not polarity.update(np.full_like(first, 500), 5.04)
    assert not polarity.update(~later[0], 1.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 200)])
def test_a_picture_of_any_size_has_a_polarity(shape):
    assert followed([RNG.integers(0, 256, shape, np.uint8)] * 2, black_hot=True) == [True, True]


def test_flat_noise_and_cuts_to_other_scenes_are_no_switches():
    noise = [RNG.normal(2000, 20, (128, 160)).astype(np.uint16) for _ in range(30)]
    cuts = [one for three in zip(scene("sky"), scene("sea"), scene("ground", seed=5), strict=True) for one in three]
    sizes = [picture[:: 1 + k % 2] for k, picture in enumerate(scene())]
    for pictures in (noise, cuts, sizes, [np.full((40, 50), 7, np.uint8)] * 3):
        assert not any(followed(pictures))


@pytest.mark.parametrize(
    "video", ["drone_ir/IR_DRONE_014.mp4", "drone_ir/IR_BIRD_018.mp4", "anti_uav410/02_6321_0274-2773.mp4"]
)
def test_real_cameras_are_followed_when_switched_and_never_else(video):
    capture = cv2.VideoCapture(str(real_data("video", video)))
    pictures = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY) for _ in range(200)]
    assert not any(followed(pictures))
    assert (
        followed([~picture if k >= 100 else picture for k, picture in enumerate(pictures)])
        == [False] * 100 + [True] * 100
    )
