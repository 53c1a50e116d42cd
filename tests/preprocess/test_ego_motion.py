"""Ego-motion estimates match known motion, and are unknown where it cannot be estimated."""

from __future__ import annotations

import math
import threading
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.messages import IDENTITY, EgoMotion
from pipeline.preprocess.ego_motion import (
    STILL,
    UNKNOWN,
    EgoMotionConfig,
    EgoMotionEstimator,
    _enlarge,
    fit,
)
from pipeline.preprocess.flow import corners, flow, stretch
from pipeline.preprocess.verification import explains
from tests.conftest import real_data

CONFIG = EgoMotionConfig()
WIDTH, HEIGHT = 240, 192


def affine(dx=0.0, dy=0.0, turn_deg=0.0, scale=1.0, size=(WIDTH, HEIGHT)):
    """Return the (2, 3) transform that rotates and scales about the picture's centre, then shifts."""
    cx, cy = (size[0] - 1) / 2, (size[1] - 1) / 2
    c, s = scale * math.cos(math.radians(turn_deg)), scale * math.sin(math.radians(turn_deg))
    return np.array([[c, -s, cx - c * cx + s * cy + dx], [s, c, cy - s * cx - c * cy + dy]])


def scene(matrix=None, seed=0, size=(WIDTH, HEIGHT), noise=3.0, wavelength=(6.0, 60.0)):
    """Return a sum of waves, transformed exactly by ``matrix``, as 16-bit picture around 8000 counts."""
    rng = np.random.default_rng(seed)
    matrix = affine() if matrix is None else matrix
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float64)
    x, y = np.linalg.inv(matrix[:, :2]) @ np.stack([x.ravel() - matrix[0, 2], y.ravel() - matrix[1, 2]])
    total = np.zeros(size[0] * size[1])
    for _ in range(24):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        k = 2 * np.pi / rng.uniform(*wavelength)
        total += np.sin(k * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    sensor = np.random.default_rng(zlib.crc32(matrix.tobytes())).normal(0, noise, total.size)
    return np.clip(8000 + 100 * total + sensor, 0, 65535).round().astype(np.uint16).reshape(size[1], size[0])


def error_px(ego, matrix, size=(WIDTH, HEIGHT)):
    """Return the largest distance in px between two motions at the corners of the picture."""
    ends = np.array([[0, 0, 1], [size[0] - 1, 0, 1], [0, size[1] - 1, 1], [size[0] - 1, size[1] - 1, 1]])
    return np.linalg.norm(ends @ (np.reshape(ego.matrix, (2, 3)) - matrix).T, axis=1).max()


@pytest.mark.parametrize(
    "motion",
    [
        {},
        {"dx": 0.3, "dy": -0.7},
        {"dx": 6.25, "dy": 3.5},
        {"dx": -14.0, "dy": 9.0},
        {"turn_deg": 1.0},
        {"turn_deg": -2.0, "dx": 2.5},
        {"scale": 1.02, "dy": -4.0},
    ],
)
def test_known_motion_is_found_to_a_tenth_of_a_pixel(motion):
    matrix = affine(**motion)
    ego = fit(scene(), scene(matrix), CONFIG)
    assert ego.ok and ego.method == "flow" and ego.inliers >= CONFIG.min_inliers
    assert error_px(ego, matrix) < 0.1
    assert ego.residual < 0.2


def test_8_bit_pictures_and_dim_16_bit_ones_work_alike():
    matrix = affine(3.0, -2.0)
    for convert in (lambda p: (p // 64).astype(np.uint8), lambda p: (p // 16).astype(np.uint16)):
        ego = fit(convert(scene()), convert(scene(matrix)), CONFIG)
        assert ego.ok and error_px(ego, matrix) < 0.2


def test_a_pan_over_clouds_adds_up():
    """Optical flow alone underestimates this pan by a sixth, too much for a map of the scene."""
    scene = Scene(SceneSpec.from_url("test://sky?snr=5"))
    estimator, frames = EgoMotionEstimator(CONFIG), 30
    summed, true = np.eye(3), np.eye(3)
    for frame in range(frames):
        ego = estimator.estimate(scene.frame(frame))
        summed, true = (
            np.vstack([np.reshape(m, (2, 3)), [0, 0, 1]]) @ so_far
            for m, so_far in ((ego.matrix, summed), (scene.ego(frame), true))
        )
    centre = np.array([160, 128, 1])
    assert np.linalg.norm((true @ centre - centre)[:2]) > 10
    assert np.linalg.norm((summed @ centre - true @ centre)[:2]) < 0.7


@pytest.mark.parametrize("size", [(2048, 128), (700, 90), (90, 700)])
def test_a_strip_is_not_shrunk_to_nothing(size):
    matrix = affine(3.0, 1.0, size=size)
    ego = fit(scene(size=size), scene(matrix, size=size), CONFIG)
    assert ego.ok
    assert error_px(ego, matrix, size) < 0.1


@pytest.mark.parametrize("max_width", [120, 239])
def test_a_shrunk_picture_gives_the_motion_of_the_whole_one(max_width):
    size = (480, 384)
    matrix = affine(8.0, -5.0, turn_deg=1.0, scale=1.01, size=size)
    a, b = (scene(m, size=size, wavelength=(30.0, 200.0)) for m in (None, matrix))
    ego = fit(a, b, EgoMotionConfig(max_width=max_width))
    assert ego.ok and error_px(ego, matrix, size) < 0.5


def test_low_contrast_without_corners_is_rescued_by_correlation():
    # Soft clouds under heavy noise: corners are noise and do not agree, but the whole pictures correlate.
    matrix = affine(3.0, 2.0)
    a, b = (scene(m, noise=250.0, wavelength=(60.0, 200.0)) for m in (None, matrix))
    ego = fit(a, b, CONFIG)
    assert ego.ok and ego.method == "ecc" and ego.inliers == 0
    assert error_px(ego, matrix) < 1.0


def test_limits_of_residual_and_correlation_are_obeyed():
    a, b = scene(), scene(affine(3.0, 2.0, turn_deg=0.5))
    assert fit(a, b, CONFIG).method == "flow"
    strict = structs.replace(CONFIG, max_residual_px=1e-3)
    assert fit(a, b, strict).method == "ecc"
    assert fit(a, b, structs.replace(strict, min_correlation=1.0)) == UNKNOWN


@pytest.mark.parametrize("level", [0, 8000, 65535])
def test_a_flat_picture_gives_unknown_motion(level):
    flat = np.full((HEIGHT, WIDTH), level, np.uint16)
    assert fit(flat, flat, CONFIG) == UNKNOWN


def test_noise_alone_gives_unknown_motion():
    rng = np.random.default_rng(1)
    for _ in range(5):
        a, b = rng.normal(8000, 20, (2, HEIGHT, WIDTH)).astype(np.uint16)
        assert fit(a, b, CONFIG) == UNKNOWN


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_cut_to_another_scene_gives_unknown_motion(seed):
    assert fit(scene(), scene(seed=seed), CONFIG) == UNKNOWN


@pytest.mark.parametrize("motion", [{"dx": 100.0}, {"turn_deg": 12.0}, {"scale": 1.25}])
def test_implausible_motion_is_never_trusted(motion):
    assert not fit(scene(), scene(affine(**motion)), CONFIG).ok


def burn_in_text(picture, rows=(20, 40, HEIGHT - 12)):
    text = np.zeros(picture.shape, np.uint8)
    for row in rows:
        cv2.putText(text, "2019-09-25 10:18:46 N 47.3", (4, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    picture[text > 127] = 16000
    return picture


@pytest.mark.parametrize("shift", [(3.0, 1.0), (-12.0, 5.0)])
def test_burnt_in_text_does_not_capture_the_motion(shift):
    matrix = affine(*shift)
    ego = fit(burn_in_text(scene()), burn_in_text(scene(matrix)), CONFIG)
    assert ego.ok and error_px(ego, matrix) < 0.2


def test_a_scene_with_few_corners_behind_text_is_estimated_right_or_not_trusted():
    """Flat sky over a strip of scene: most corners belong to text, which suggests zero motion."""
    matrix = affine(5.0, 0.0)
    for strip in (96, 64, 40):
        pictures = [scene(m) for m in (None, matrix)]
        for p in pictures:
            p[:-strip] = 8000
            burn_in_text(p, range(16, HEIGHT - strip, 24))
        ego = fit(*pictures, CONFIG)
        assert not ego.ok or error_px(ego, matrix) < 0.2


def test_an_overlay_as_large_as_the_moving_scene_gives_unknown_motion_which_is_the_identity():
    previous, current = scene(), scene(affine(dx=4.0))
    previous[:, : WIDTH * 2 // 3] = current[:, : WIDTH * 2 // 3] = scene(seed=1)[:, : WIDTH * 2 // 3]
    assert fit(previous, current, CONFIG) == UNKNOWN


def test_a_large_moving_object_does_not_capture_a_still_scene():
    pictures = [scene(), scene(noise=3.0)]
    moved = scene(affine(4.0, 2.0), seed=3)
    pictures[0][50:140, 70:170], pictures[1][50:140, 70:170] = scene(seed=3)[50:140, 70:170], moved[50:140, 70:170]
    ego = fit(*pictures, CONFIG)
    assert ego.ok and error_px(ego, affine()) < 0.1


def test_corners_are_spread_over_the_picture_whatever_the_contrast():
    picture = scene()
    picture[:, : WIDTH // 2] = 8000 + (picture[:, : WIDTH // 2].astype(int) - 8000) // 10
    points = corners(stretch(picture, picture)[0])
    left = (points[:, 0] < WIDTH // 2).mean()
    assert 0.4 < left < 0.6


def test_no_cell_owns_more_corners_than_its_share():
    rng = np.random.default_rng(0)
    picture = stretch(scene(), scene())[0]
    picture[:, : WIDTH // 2] = rng.integers(0, 255, (HEIGHT, WIDTH // 2))  # a corner every few pixels
    points = corners(picture)
    cells = np.floor(points / (WIDTH / 8, HEIGHT / 8)).astype(int)
    _, counts = np.unique(cells, axis=0, return_counts=True)
    assert counts.max() == 3 and len(counts) == 64


def test_flow_loses_points_that_have_no_counterpart():
    a, b = stretch(scene(), scene(affine(2.0, 1.0)))
    b[:, WIDTH // 2 :] = stretch(scene(seed=5), scene(seed=5))[0][:, WIDTH // 2 :]
    offered = corners(a)
    before, after = flow(a, b, offered)
    left = before[:, 0] < WIDTH // 2 - 12
    assert left.sum() > 0.9 * (offered[:, 0] < WIDTH // 2 - 12).sum()
    assert np.abs(after[left] - before[left] - (2.0, 1.0)).max() < 0.2
    right_offered = (offered[:, 0] > WIDTH // 2 + 12).sum()
    assert (before[:, 0] > WIDTH // 2 + 12).sum() < 0.4 * right_offered


def test_a_motion_explains_pictures_that_it_brings_together():
    a, b = stretch(scene(), scene(affine(4.0, 2.0)))
    assert explains(a, b, (1, 0, 4.0, 0, 1, 2.0))
    assert not explains(a, b, (1, 0, -4.0, 0, 1, -2.0))
    assert not explains(a, a, (1, 0, 4.0, 0, 1, 2.0))
    assert not explains(a, b, (1, 0, 400.0, 0, 1, 2.0))
    assert explains(a, b, (1, 0, 0.4, 0, 1, 0.0))  # too small to be rejected


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_an_enlarged_motion_maps_block_centres_as_the_small_one_maps_pixels(factor):
    small = np.array([[0.9, -0.2, 3.0], [0.3, 1.1, -2.0]])
    a, b, tx, c, d, ty = small.ravel().tolist()
    enlarged = _enlarge(EgoMotion(matrix=(a, b, tx, c, d, ty), residual=0.3, ok=True), factor)
    large = np.reshape(enlarged.matrix, (2, 3))
    pixel = np.array([7.0, 5.0])
    centre = factor * pixel + (factor - 1) / 2
    moved = small[:, :2] @ pixel + small[:, 2]
    assert large[:, :2] @ centre + large[:, 2] == pytest.approx(factor * moved + (factor - 1) / 2)
    assert enlarged.residual == pytest.approx(0.3 * factor)


def test_stretch_is_one_map_for_both_pictures():
    a = np.linspace(1000, 3000, 64 * 64).reshape(64, 64).astype(np.uint16)
    low, high = stretch(a, a + 200)
    shift = high.astype(int) - low
    # 1 % to 99 % of 2000 counts fill 255 levels, so 200 counts are 26 of them.
    assert np.abs(shift[(low > 0) & (high < 255)] - 200 * 255 / (0.98 * 2000)).max() <= 1


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    seed=st.integers(0, 9),
)
def test_any_small_picture_gives_a_finite_answer(height, width, dtype, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, np.iinfo(dtype).max, (2, height, width), dtype=dtype, endpoint=True)
    ego = fit(a, b, CONFIG)
    assert np.isfinite(ego.matrix).all()
    assert ego.ok or ego == UNKNOWN


def test_the_first_picture_and_a_change_of_size_or_type_give_unknown_motion():
    estimator = EgoMotionEstimator(CONFIG)
    picture = scene()
    assert estimator.estimate(picture) == UNKNOWN
    assert estimator.estimate(picture).ok
    assert estimator.estimate(picture[:-10]) == UNKNOWN
    assert estimator.estimate(picture[:-10]).ok
    assert estimator.estimate((picture[:-10] // 64).astype(np.uint8)) == UNKNOWN


def test_estimator_keeps_its_own_copy_of_the_previous_picture():
    estimator, matrix = EgoMotionEstimator(CONFIG), affine(4.0, 1.0)
    buffer = scene()
    estimator.estimate(buffer)
    buffer[:] = scene(matrix)
    assert error_px(estimator.estimate(buffer), matrix) < 0.1


def test_switched_off_it_asserts_a_still_camera():
    estimator = EgoMotionEstimator(EgoMotionConfig(enabled=False))
    for picture in (scene(), scene(affine(5.0))):
        ego = estimator.estimate(picture)
        assert ego == STILL and ego.ok and ego.matrix == IDENTITY and ego.method == "none"


def test_the_same_pictures_give_the_same_motion_in_any_thread():
    a, b = scene(noise=150.0), scene(affine(5.0, 2.0, 0.5), noise=150.0)
    first = fit(a, b, CONFIG)
    results = []
    cv2.setRNGSeed(7)
    threads = [threading.Thread(target=lambda: results.extend(fit(a, b, CONFIG) for _ in range(3))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert first.ok and results == [first] * 12


@pytest.mark.parametrize("picture", [np.zeros((64, 64), np.float32), np.zeros((64, 64, 3), np.uint8)])
def test_other_pictures_are_refused(picture):
    with pytest.raises(ValueError, match="uint8 or uint16"):
        EgoMotionEstimator(CONFIG).estimate(picture)


def test_real_cloud_scene_never_gives_a_wild_transform_that_is_trusted():
    folder = real_data("video", "sequences", "easy3")
    files = sorted(folder.iterdir(), key=lambda f: int("".join(filter(str.isdigit, f.stem)) or 0))
    estimator = EgoMotionEstimator(CONFIG)
    motions = [estimator.estimate(cv2.imread(str(f), cv2.IMREAD_GRAYSCALE)) for f in files]
    trusted = [m for m in motions if m.ok]
    assert len(trusted) > len(files) // 2
    still = affine(size=(320, 240))
    # The scene is known to move by up to 20 px from frame to frame, with hardly any rotation.
    assert max(error_px(m, still, (320, 240)) for m in trusted) < 40


def test_real_panning_clip_agrees_with_the_motion_of_its_pictures():
    capture = cv2.VideoCapture(str(real_data("video", "drone_ir", "IR_BIRD_018.mp4")))
    estimator, previous, panned = EgoMotionEstimator(CONFIG), None, 0
    for _ in range(120):
        more, frame = capture.read()
        if not more:
            break
        picture = np.ascontiguousarray(frame[..., 0])
        ego = estimator.estimate(picture)
        if ego.ok and previous is not None and math.hypot(ego.matrix[2], ego.matrix[5]) > 2:
            panned += 1
            aligned = cv2.warpAffine(previous, np.reshape(ego.matrix, (2, 3)), picture.shape[::-1])
            inner = np.s_[20:-20, 20:-20]
            assert cv2.absdiff(aligned, picture)[inner].mean() < cv2.absdiff(previous, picture)[inner].mean()
        previous = picture
    assert panned >= 5
