"""Registration of past frames, compared with known motions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.preprocess.registration import REACH_PX, Reference, smooth

H, W = 96, 128


def scene(seed=0, size=(160, 200)):
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.normal(0, 400, size).astype(np.float32), (0, 0), 4) + 1000


def camera_view(matrix, canvas=None):
    """Return the view of the canvas after the camera moved: ``matrix`` maps pixels of the first view to this one."""
    to_canvas = np.array([[1, 0, 30.0], [0, 1, 30], [0, 0, 1]]) @ np.linalg.inv(matrix)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(scene() if canvas is None else canvas, to_canvas[:2], (W, H), flags=flags)


def similarity(dx=0.0, dy=0.0, zoom=1.0, degrees=0.0):
    turn = np.eye(3)
    turn[:2] = cv2.getRotationMatrix2D(((W - 1) / 2, (H - 1) / 2), degrees, zoom)
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]]) @ turn


def error(found, true):
    """Return the largest distance in px between the corners as mapped by two matrices."""
    corners = np.array([[0, W - 1, 0, W - 1], [0, 0, H - 1, H - 1], [1, 1, 1, 1.0]])
    return np.abs((found @ corners - true @ corners)[:2]).max()


def register(past, now, guess):
    return Reference(smooth(now)).register(smooth(past), guess)


@pytest.mark.parametrize(
    ("true", "guess"),
    [
        (similarity(0.4, -0.3), np.eye(3)),
        (similarity(-7.3, 4.6), similarity(-7, 5)),
        (similarity(degrees=0.3), np.eye(3)),
        (similarity(3.2, 0.1, 1.01, 0.5), similarity(3, 0, 1.008, 0.3)),
    ],
)
def test_an_approximate_transform_is_refined(true, guess):
    past, now = camera_view(np.eye(3)), camera_view(true)
    found, gain, offset = register(past, now, guess)
    assert error(found, true) < 0.3 * error(guess, true)
    for _ in range(2):
        found, gain, offset = register(past, now, found)
    assert error(found, true) < 0.1  # OpenCV interpolates at steps of 1/32 px
    assert gain == pytest.approx(1, abs=0.01)
    assert offset + (gain - 1) * 1000 == pytest.approx(0, abs=1)


def test_gain_and_offset_are_separated_from_motion():
    true = similarity(0.3, 0.2)
    found, gain, offset = register(camera_view(np.eye(3)), 1.2 * camera_view(true) - 150, np.eye(3))
    assert error(found, true) < 0.06
    assert gain == pytest.approx(1.2, abs=0.01)
    assert offset == pytest.approx(-150, abs=10)


def test_a_bright_target_that_flies_does_not_pull_the_frame_along():
    true, past = similarity(0.2, 0.0), camera_view(np.eye(3))
    now = camera_view(true)
    past[40:44, 40:44] += 2000
    now[40:44, 43:47] += 2000
    assert error(register(past, now, np.eye(3))[0], true) < 0.15


def test_water_below_the_horizon_does_not_pull_the_frame_along():
    true, past = similarity(0.3, -0.2), camera_view(np.eye(3))
    now, found = camera_view(true), np.eye(3)
    waves = [cv2.GaussianBlur(scene(seed), (0, 0), 2)[:H, :W] for seed in (1, 2)]
    drift = 0.7 * waves[0] + 0.3 * waves[1]
    past[H // 2 :] = waves[0][H // 2 :]
    now[H // 2 :, 2:] = drift[H // 2 :, :-2]
    for _ in range(3):
        found, _, _ = register(past, now, found)
    assert error(found, true) < 0.15


@pytest.mark.parametrize("guess", [similarity(REACH_PX + 3.0, 0), similarity(200, 0)])
def test_corrections_beyond_reach_are_not_applied(guess):
    picture = camera_view(np.eye(3))
    found, gain, offset = register(picture, picture, guess)
    assert np.array_equal(found, guess)
    assert (gain, offset) == (1.0, 0.0)


def test_a_flat_frame_moves_nothing():
    flat = np.full((H, W), 500, np.float32)
    found, gain, offset = register(flat, flat + 20, np.eye(3))
    assert np.isfinite(found).all()
    assert error(found, np.eye(3)) < 1e-3
    assert gain * 500 + offset == pytest.approx(520, abs=0.1)


@pytest.mark.parametrize("true", [similarity(zoom=1.05), similarity(degrees=3)])
def test_a_correction_beyond_reach_at_the_border_alone_is_not_applied(true):
    found, gain, offset = register(camera_view(np.eye(3)), camera_view(true), np.eye(3))
    assert np.array_equal(found, np.eye(3))
    assert (gain, offset) == (1.0, 0.0)


@pytest.mark.parametrize(("overlap", "corrected"), [(0.35, True), (0.2, False)])
def test_less_than_a_quarter_in_common_is_not_registered(overlap, corrected):
    canvas, across = scene(size=(160, 400)), round((1 - overlap) * W)
    past, now = camera_view(np.eye(3), canvas), camera_view(similarity(-across - 0.4), canvas)
    guess = similarity(-across)
    assert np.array_equal(register(past, now, guess)[0], guess) != corrected


@pytest.mark.parametrize(("factor", "accepted"), [(1.4, True), (1.6, False), (0.4, False)])
def test_a_gain_that_differs_by_more_than_a_half_is_not_applied(factor, accepted):
    past = camera_view(np.eye(3))
    found, gain, _ = register(past, factor * past, np.eye(3))
    assert np.array_equal(found, np.eye(3)) != accepted
    assert gain == pytest.approx(factor if accepted else 1.0, abs=0.01)
