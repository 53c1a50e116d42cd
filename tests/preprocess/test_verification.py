"""Wrong motions are rejected on noise, gradients and texture; a single object on a clear sky is not camera motion."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.capture.scene.sensor import Sensor
from pipeline.capture.scene.targets import Body
from pipeline.messages import IDENTITY
from pipeline.preprocess.ego_motion import EgoMotionConfig, EgoMotionEstimator
from pipeline.preprocess.flow import stretch
from pipeline.preprocess.verification import _shared_structure, _spread, explains

WIDTH, HEIGHT = 320, 256
NOISE = 16.0


def picture(scene, seed):
    noise = np.random.default_rng(seed).normal(0, NOISE, (HEIGHT, WIDTH))
    return (8000 + scene + noise).round().astype(np.uint16)


def gradient(counts):
    return np.linspace(0, counts, HEIGHT)[:, None]


def texture(sigma, amplitude=100.0):
    soft = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (HEIGHT, WIDTH)), (0, 0), sigma)
    return amplitude * soft / soft.std()


def ground(top, amplitude=1000.0):
    """Texture from row ``top`` down, nothing above."""
    return texture(4.0, amplitude) * (np.arange(HEIGHT)[:, None] >= top)


def shift(dx, dy):
    return (1.0, 0.0, dx, 0.0, 1.0, dy)


@pytest.mark.parametrize(
    "scene",
    [0.0, gradient(300), gradient(2000), texture(4), texture(12), gradient(2000) + ground(192)],
    ids=["noise", "gradient", "steep gradient", "texture", "soft clouds", "gradient above ground"],
)
def test_a_wrong_motion_of_a_still_scene_is_refused(scene):
    rng = np.random.default_rng(1)
    for seed in range(12):
        a, b = stretch(picture(scene, 2 * seed), picture(scene, 2 * seed + 1))
        size, direction = rng.uniform(0.8, 4), rng.uniform(0, 2 * math.pi)
        assert not explains(a, b, shift(size * math.cos(direction), size * math.sin(direction)))


@pytest.mark.parametrize("scene", [0.0, gradient(300), gradient(2000)], ids=["noise", "gradient", "steep gradient"])
def test_without_structure_along_both_axes_even_zero_motion_is_rejected(scene):
    for seed in range(5):
        a, b = stretch(picture(scene, 2 * seed), picture(scene, 2 * seed + 1))
        assert not explains(a, b, IDENTITY)


@pytest.mark.parametrize("name", ["sky?snr=5", "sea?snr=10", "ground?snr=5", "crossing?snr=5", "demo"])
def test_a_scene_confirms_the_true_camera_motion_and_no_other(name):
    separator = "&" if "?" in name else "?"
    scene = Scene(SceneSpec.from_url(f"test://{name}{separator}camera=pan%2Bhandheld&frames=6"))
    pictures = [scene.frame(k) for k in range(6)]
    for k in range(1, 6):
        a, b = stretch(pictures[k - 1], pictures[k])
        assert explains(a, b, scene.ego(k))
        m = np.array(scene.ego(k))
        for wrong in (3.0, -3.0):
            m[[2, 5]] = np.array(scene.ego(k))[[2, 5]] + wrong
            assert not explains(a, b, tuple(m.tolist()))


def test_a_strip_of_ground_below_a_clear_sky_is_enough():
    scene = gradient(300) + ground(192)
    a, b = stretch(picture(scene, 0), picture(np.roll(scene, 2, axis=1), 1))
    assert explains(a, b, shift(2.0, 0.0))
    assert not explains(a, b, shift(-2.0, 0.0))


def test_a_change_of_gain_and_of_offset_does_not_hide_the_motion():
    scene = texture(6, 300.0)
    dimmer = 0.8 * np.roll(scene, (1, 3), axis=(0, 1)) - 100
    a, b = stretch(picture(scene, 0), picture(dimmer, 1))
    assert explains(a, b, shift(3.0, 1.0))
    assert not explains(a, b, shift(-3.0, -1.0))


def sky_with_one_target(size, snr, speed, fpn, frames=10):
    """Yield frames of a clear sky, 300 counts brighter at the bottom, with one target and a static camera."""
    sensor = Sensor(SceneSpec(name="sky", fpn=fpn, dead=0))
    body = Body("drone" if size else "point", size)
    for k in range(frames):
        radiance = (5000 + gradient(300) + np.zeros((1, WIDTH))).astype(np.float32)
        rows, columns, profile = body.picture(60 + speed * k, 100 + 0.3 * speed * k, radiance.shape)
        radiance[rows, columns] += profile * NOISE * snr
        yield sensor.expose(radiance, np.random.default_rng(k))


def structured_target(dtype, frames=10):
    """Yield frames of a textured object of 40 px that moves 4 px per frame over a flat sky."""
    level, contrast, noise = (3000, 300, NOISE) if dtype == np.uint16 else (100, 30, 1.0)
    rng, size = np.random.default_rng(0), 40
    pattern = cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), 2)
    for k in range(frames):
        sky = rng.normal(level, noise, (HEIGHT, WIDTH))
        sky[80 : 80 + size, 40 + 4 * k : 40 + 4 * k + size] += contrast * (1 + pattern / pattern.std() / 3)
        yield sky.round().astype(dtype)


@pytest.mark.parametrize("fpn", [0.0, 5.0])
@pytest.mark.parametrize(("size", "snr"), [(0, 20), (0, 60), (8, 20), (8, 60), (16, 60), (40, 40)])
def test_a_target_on_a_clear_sky_is_never_taken_for_the_camera(size, snr, fpn):
    estimator = EgoMotionEstimator(EgoMotionConfig())
    for frame in sky_with_one_target(size, snr, speed=2.0, fpn=fpn):
        ego = estimator.estimate(frame)
        assert not ego.ok or max(abs(ego.matrix[2]), abs(ego.matrix[5])) < 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_large_textured_target_is_never_taken_for_the_camera(dtype):
    estimator = EgoMotionEstimator(EgoMotionConfig())
    for frame in structured_target(dtype):
        ego = estimator.estimate(frame)
        assert not ego.ok or max(abs(ego.matrix[2]), abs(ego.matrix[5])) < 0.5


def test_identical_pictures_share_all_power_also_where_their_gradients_are_correlated():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(0, 20, (2, 64, 64)).astype(np.float32)
    gradients = x, 0.6 * x + 0.8 * noise
    assert _shared_structure(gradients, gradients).min() > 0.99
    assert _shared_structure((x, x), (x, x)).max() < 0.01  # a slope shares nothing along itself


def test_a_strip_counts_the_same_along_either_axis_and_more_than_a_square_of_its_area():
    strip, square = np.zeros((2, 8, 8), np.float32)
    strip[6:], square[:4, :4] = 1, 1
    assert _spread(strip) == _spread(strip.T) == pytest.approx(0.5)
    assert _spread(square) == pytest.approx(0.5**1.5)
