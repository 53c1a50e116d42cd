"""Burnt-in graphics are replaced, and nothing else is: no target, no line of the scene, no picture from the sensor."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.detect.config import DetectConfig
from pipeline.detect.stage import DetectStage
from pipeline.messages import Packet
from pipeline.moving.config import MovingConfig
from pipeline.preprocess.burnt_in import EVERY, MIN_CONTRAST, TRUST, BurntInGraphics
from pipeline.preprocess.config import PreprocessConfig
from pipeline.preprocess.lines import MAX_WIDTH_PX, MIN_LENGTH_PX, MIN_LENGTH_WIDE_PX
from pipeline.preprocess.stage import PreprocessStage
from tests.conftest import real_data
from tests.messages import frame

KNOWN = EVERY * (TRUST - 1)
"""Index of the first frame whose lines are known."""
SIZE = (120, 160)


def scene(name, frames=KNOWN + 10, **options):
    height, width = SIZE
    film = Scene(SceneSpec(name=name, frames=frames, width=width, height=height, **options))
    pictures = np.stack([film.frame(k) for k in range(frames)]).astype(np.float32)
    low, high = np.percentile(pictures, (1, 99))
    return list((60 + 100 * (pictures - low) / (high - low)).clip(0, 255).astype(np.uint8))


def cross(shape=SIZE, centre=(80, 60), inner=3, outer=14, width=1):
    """Return the mask (H, W) of a reticle: four arms around a gap."""
    mask, (x, y) = np.zeros(shape, np.bool_), centre
    mask[y : y + width, [*range(x - outer, x - inner), *range(x + inner, x + outer)]] = True
    mask[[*range(y - outer, y - inner), *range(y + inner, y + outer)], x : x + width] = True
    return mask


def replaced(pictures):
    """Return the last picture and the mask (H, W) of its replaced pixels, after showing the others."""
    lines = BurntInGraphics()
    for picture in pictures:
        clean = lines.replace(picture)
    mask = np.zeros(picture.shape, np.bool_)
    mask.flat[lines.pixels] = True
    assert np.array_equal(clean[~mask], picture[~mask])
    return clean, mask


@pytest.mark.parametrize("name", ["sky", "ground", "sea"])
@pytest.mark.parametrize("camera", ["still", "pan"])
@pytest.mark.parametrize("value", [255, 0])
def test_a_reticle_is_replaced_by_what_surrounds_it(name, camera, value):
    mask, pictures = cross(), scene(name, camera=camera)
    drawn = [np.where(mask, np.uint8(value), picture) for picture in pictures]
    clean, found = replaced(drawn)
    assert not (found & ~mask).any()
    assert found[mask].mean() > 0.95  # not all of it beside details that are as bright
    around = pictures[-1][40:80, 60:100]
    assert around.min() <= clean[found].min() <= clean[found].max() <= around.max()
    assert np.abs(clean.astype(int) - pictures[-1])[found].mean() < 0.2 * np.abs(value - around.astype(int)).mean()


def test_lines_are_known_after_less_than_a_second():
    mask = cross()
    drawn = [np.where(mask, np.uint8(255), picture) for picture in scene("sky")]
    lines = BurntInGraphics()
    counts = []
    for picture in drawn:
        assert (lines.replace(picture) is picture) == (not len(lines.pixels))
        counts.append(len(lines.pixels))
    assert counts == [0] * KNOWN + [mask.sum()] * 10
    assert KNOWN < 25


@given(
    st.tuples(st.integers(30, 130), st.integers(30, 90)),
    st.integers(0, 8),
    st.integers(MIN_LENGTH_PX, 20),
    st.integers(1, 2),
    st.sampled_from((0, 20, 180, 235, 255)),
)
@settings(max_examples=25)
def test_reticles_of_any_place_and_shape_are_replaced_to_the_pixel(centre, inner, length, width, value):
    noise = np.random.default_rng(0)
    mask = cross(centre=centre, inner=inner, outer=inner + length, width=width)
    pictures = [noise.normal(100, 3, SIZE).round().astype(np.uint8) for _ in range(KNOWN + 1)]
    clean, found = replaced([np.where(mask, np.uint8(value), picture) for picture in pictures])
    assert np.array_equal(found, mask)
    assert (np.abs(clean[mask] - 100.0) < 4).all()


def test_a_reticle_with_an_outline_is_replaced_with_its_outline():
    mask = cross()
    outline = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))).astype(np.bool_)
    pictures = [np.where(mask, np.uint8(255), np.where(outline, np.uint8(0), p)) for p in scene("ground")]
    assert np.array_equal(replaced(pictures)[1], outline)


def test_what_is_drawn_with_a_reticle_is_replaced_too():
    drawing = cross().astype(np.uint8)
    cv2.circle(drawing, (80, 60), 22, 1)
    cv2.line(drawing, (8, 30), (8, 90), 1)
    for y in range(30, 91, 10):
        cv2.line(drawing, (8, y), (13, y), 1)
        cv2.line(drawing, (140, y), (145, y), 1)
    cv2.putText(drawing, "N 54 10", (10, 20), cv2.FONT_HERSHEY_PLAIN, 0.8, 1, 1)
    drawn = [np.where(drawing, np.uint8(235), picture) for picture in scene("sky")]
    _, found = replaced(drawn)
    assert not (found & (drawing == 0)).any()
    assert (found & (drawing == 1)).sum() > 0.9 * drawing.sum()  # not beside clouds that are as bright


def test_smoothed_text_is_not_replaced_in_pieces():
    """What is left of letters looks like targets: 5 became 15 false tracks in a real video."""
    text = np.zeros(SIZE, np.uint8)
    cv2.putText(text, "AZ 282.17", (4, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2, cv2.LINE_AA)
    drawn = [np.where(cross(), np.uint8(255), np.maximum(text, picture)) for picture in scene("sky")]
    assert np.array_equal(replaced(drawn)[1], cross())


@pytest.mark.parametrize("sigma", [0.6, 0.8, 1.2])
@pytest.mark.parametrize("peak", [300, 1000, 4000])
def test_saturated_targets_that_stand_still_beside_white_graphics_stay(sigma, peak):
    spots = np.zeros(SIZE, np.float32)
    spots[30, 30] = spots[100, 40] = spots[90, 120:123] = spots[20, 90:98] = 2 * np.pi * sigma**2 * peak
    spots = cv2.GaussianBlur(spots, (0, 0), sigma)
    drawn = [np.where(cross(), 255, (picture + spots).clip(0, 255)).astype(np.uint8) for picture in scene("sky")]
    assert np.array_equal(replaced(drawn)[1], cross())


def test_a_target_on_the_reticle_stays_in_the_picture():
    mask, pictures = cross(), scene("sky")
    spot = np.zeros(SIZE, np.float32)
    spot[60, 81] = 700  # in the gap, and across the left end of an arm
    spot = cv2.GaussianBlur(spot, (0, 0), 1.2)
    drawn = [np.where(mask, 255, (picture + spot).clip(0, 250)).astype(np.uint8) for picture in pictures]
    clean, found = replaced(drawn)
    assert found[mask].all()
    assert (clean[59:62, 80:82] > drawn[-1][59:62, 80:82] - 20.0).all()


def test_a_known_reticle_stays_known_where_a_target_touches_it():
    lines, picture = BurntInGraphics(), np.full(SIZE, 100, np.uint8)
    picture[cross()] = 255
    for _ in range(KNOWN + 1):
        lines.replace(picture)
    touched = picture.copy()
    touched[58:62, 94:98] = 200  # at the end of the right arm, and as wide as a target
    for _ in range(100):
        lines.replace(touched)
    assert set(np.flatnonzero(cross())) <= set(lines.pixels.tolist())


def test_a_bright_straight_target_that_a_gimbal_holds_is_never_replaced():
    pictures = scene("ground", camera="pan")
    for picture in pictures:
        picture[60:62, 70:86] = 255
    assert not replaced(pictures)[1].any()


def test_lines_of_one_direction_or_of_different_values_are_not_replaced():
    across, down = np.zeros(SIZE, np.bool_), np.zeros(SIZE, np.bool_)
    across[20, 40:90] = down[20:70, 120] = True
    sky = scene("sky")
    both = [np.where(across | down, np.uint8(250), picture) for picture in sky]
    assert np.array_equal(replaced(both)[1], across | down)
    assert not replaced([np.where(across, np.uint8(250), picture) for picture in sky])[1].any()
    assert not replaced([np.where(down, np.uint8(250), picture) for picture in sky])[1].any()
    different = [np.where(across, np.uint8(250), np.where(down, np.uint8(230), picture)) for picture in sky]
    assert not replaced(different)[1].any()


def test_a_box_that_moves_is_replaced_with_what_stands_still():
    lines = BurntInGraphics()
    for k, picture in enumerate(scene("ground")):
        mask = cross(centre=(120, 60))
        x = 20 + k
        mask[40, x : x + 24] = mask[59, x : x + 24] = mask[40:60, x] = mask[40:60, x + 23] = True
        clean = lines.replace(np.where(mask, np.uint8(255), picture))
        found = np.zeros(SIZE, np.bool_)
        found.flat[lines.pixels] = True
        expected = mask if k >= KNOWN else mask & ~cross(centre=(120, 60))
        assert not (found & ~expected).any()
        assert found[expected].mean() > 0.95
        assert np.abs(clean.astype(int) - picture)[found].mean() < 20


def test_short_thick_faint_and_flickering_lines_are_not_replaced():
    uniform = [np.full(SIZE, 100, np.uint8) for _ in range(KNOWN + 10)]

    def with_cross(value=255, **shape):
        return [np.where(cross(**shape), np.uint8(value), picture) for picture in uniform]

    assert replaced(with_cross())[1].any()
    assert not replaced(with_cross(inner=8, outer=8 + MIN_LENGTH_PX - 1))[1].any()
    assert not replaced(with_cross(width=3, outer=3 + MIN_LENGTH_WIDE_PX - 1))[1].any()
    assert replaced(with_cross(width=3, outer=3 + MIN_LENGTH_WIDE_PX))[1].any()
    assert not replaced(with_cross(width=MAX_WIDTH_PX + 1, outer=40))[1].any()
    assert not replaced(with_cross(value=100 + int(MIN_CONTRAST)))[1].any()
    assert not replaced(
        [a if k // EVERY % 3 else b for k, (a, b) in enumerate(zip(with_cross(), uniform, strict=True))]
    )[1].any()


@pytest.mark.parametrize("frames", [KNOWN + 5, KNOWN + 6])
def test_a_reticle_that_is_switched_off_is_no_longer_replaced(frames):
    """Whether the first picture without it is one of those examined or not."""
    sky, lines = scene("sky", frames=KNOWN + 20), BurntInGraphics()
    for picture in sky[:frames]:
        lines.replace(np.where(cross(), np.uint8(255), picture))
    assert len(lines.pixels)
    for picture in sky[frames:]:
        assert lines.replace(picture) is picture
        assert not len(lines.pixels)


def test_another_size_starts_anew_and_sixteen_bits_are_left_alone():
    lines = BurntInGraphics()
    drawn = np.where(cross(), 255, 100)
    for _ in range(KNOWN + 1):
        lines.replace(drawn.astype(np.uint8))
    assert len(lines.pixels)
    for other in (drawn[:100].astype(np.uint8), drawn.astype(np.uint16)):
        assert lines.replace(other) is other
        assert not len(lines.pixels)


def detections(pictures):
    """Return what the shipped network finds in the last picture after preprocessing, with and without hidden pixels."""
    stage = PreprocessStage("edge", PreprocessConfig(), MovingConfig(enabled=False))
    detect = DetectStage(DetectConfig(weights="edge", backend="torch"))
    stage.open()
    detect.open()
    for seq, picture in enumerate(pictures):
        (out,) = stage.process([frame(picture, "a", seq)])
        assert out.picture is picture
    found = []
    for hidden in (out.message.hidden, b""):
        (result,) = detect.process([Packet(structs.replace(out.message, hidden=hidden), out.picture)])
        found.append(result.message.table())
    detect.close()
    stage.close()
    return found


def test_the_network_finds_the_target_beside_a_reticle_and_nothing_of_the_reticle():
    noise, spot = np.random.default_rng(0), np.zeros(SIZE)
    spot[52, 88] = 700
    spot = 100 + cv2.GaussianBlur(spot, (0, 0), 1.2)
    skies = [(spot + noise.normal(0, 1, SIZE)).clip(0, 255).astype(np.uint8) for _ in range(KNOWN + 1)]
    clean, with_reticle = detections([np.where(cross(), np.uint8(255), sky) for sky in skies])
    assert (clean["x"], clean["y"]) == (pytest.approx([88], abs=0.5), pytest.approx([52], abs=0.5))
    assert len(with_reticle) > 1


@pytest.mark.parametrize("centre", [(254, 54), (238, 70), (222, 38)])
def test_a_real_drone_beside_a_reticle_is_found(centre):
    """Without replacement the network is blind there: the test fails when it no longer is."""
    capture = cv2.VideoCapture(str(real_data("video", "drone_ir", "IR_DRONE_038.mp4")))
    pictures = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY) for _ in range(101)][-KNOWN - 1 :]
    mask = cross(pictures[0].shape, centre)
    for found, seen in zip(
        detections([np.where(mask, np.uint8(255), p) for p in pictures]), (True, False), strict=True
    ):
        assert (np.hypot(found["x"] - 238, found["y"] - 46) < 5).any() == seen


@pytest.mark.parametrize(
    "video", ["anti_uav410/02_6321_0274-2773", "drone_ir/IR_HELICOPTER_016", "drone_ir/IR_DRONE_014"]
)
def test_no_target_of_a_real_video_is_replaced(video):
    capture = cv2.VideoCapture(str(real_data("video", f"{video}.mp4")))
    with real_data("video", f"{video}.csv").open() as file:
        boxes = {int(row["frame"]): [float(row[c]) for c in "xywh"] for row in csv.DictReader(file) if row["x"]}
    lines = BurntInGraphics()
    for k in range(300):
        picture = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY)
        lines.replace(picture)
        if k in boxes:
            x, y, w, h = boxes[k]
            row, column = np.divmod(lines.pixels, picture.shape[1])
            assert not ((x <= column) & (column <= x + w) & (y <= row) & (row <= y + h)).any()
