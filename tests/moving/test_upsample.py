"""Warping of upsampled frames, compared with the exact shift of a band-limited scene."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.moving.residual import contrast
from pipeline.moving.upsample import upsample, warp_upsampled

SIDE = 128
INNER = np.s_[16:-16, 16:-16]
FREQUENCIES = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE))


def blurred_by_optics(scene):
    """Spectrum of the scene blurred by a Gaussian of sigma 0.7 px."""
    fx, fy = FREQUENCIES
    return np.fft.fft2(scene) * np.exp(-2 * (0.7 * np.pi) ** 2 * (fx**2 + fy**2))


def edges():
    scene = np.zeros((SIDE, SIDE))
    scene[30:90, 40:100] = 100
    return blurred_by_optics(scene)


def clutter():
    fx, fy = FREQUENCIES
    white = np.random.default_rng(1).standard_normal((SIDE, SIDE))
    spectrum = blurred_by_optics(white) / np.maximum(np.hypot(fx, fy), 1 / SIDE) ** 1.5
    return 50 * spectrum / np.fft.ifft2(spectrum).real.std()


def moved(spectrum, dx, dy):
    fx, fy = FREQUENCIES
    return np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (fx * dx + fy * dy))).real.astype(np.float32)


def shift(dx, dy):
    return np.array([[1.0, 0, dx], [0, 1, dy], [0, 0, 1]])


@pytest.mark.parametrize("scene", [edges, clutter])
def test_error_is_less_than_half_that_of_opencv_bicubic_interpolation(scene):
    spectrum = scene()
    frame = moved(spectrum, 0, 0)
    ours, bicubic = [], []
    for dx, dy in np.random.default_rng(2).uniform(-2, 2, (30, 2)):
        true = moved(spectrum, dx, dy)
        theirs = cv2.warpAffine(frame, shift(dx, dy)[:2], (SIDE, SIDE), flags=cv2.INTER_CUBIC)
        ours.append(np.square(contrast(warp_upsampled(upsample(frame), shift(dx, dy)) - true)[INNER]).mean())
        bicubic.append(np.square(contrast(theirs - true)[INNER]).mean())
    assert np.sqrt(np.mean(ours)) < 0.5 * np.sqrt(np.mean(bicubic))


@pytest.mark.parametrize("shape", [(40, 50), (41, 51), (32, 33)])
def test_identity_returns_the_same_frame(shape):
    frame = np.random.default_rng(0).uniform(0, 4000, shape).astype(np.float32)
    found = warp_upsampled(upsample(frame), np.eye(3))
    assert found.shape == shape
    np.testing.assert_array_equal(found, frame)


def test_nothing_is_out_of_view_after_less_than_half_a_pixel():
    frame = np.random.default_rng(0).uniform(0, 4000, (40, 50)).astype(np.float32)
    for dx, dy in ((1e-6, -1e-6), (0.49, 0.49), (-0.49, 0.3)):
        assert np.isfinite(warp_upsampled(upsample(frame), shift(dx, dy))).all()


@given(dx=st.integers(-9, 9), dy=st.integers(-9, 9))
def test_whole_pixel_shifts_are_exact_and_pixels_out_of_view_are_nan(dx, dy):
    frame = np.random.default_rng(0).uniform(0, 4000, (40, 50)).astype(np.float32)
    found = warp_upsampled(upsample(frame), shift(dx, dy))
    y, x = np.mgrid[:40, :50]
    inside = (x - dx >= 0) & (x - dx < 50) & (y - dy >= 0) & (y - dy < 40)
    np.testing.assert_array_equal(found[inside], frame[y[inside] - dy, x[inside] - dx])
    assert np.isnan(found[~inside]).all()


@given(turn=st.floats(-0.05, 0.05), zoom=st.floats(0.95, 1.05), dx=st.floats(-3, 3), dy=st.floats(-3, 3))
def test_a_linear_gradient_stays_linear_under_any_similarity(turn, zoom, dx, dy):
    to_now = np.array([[zoom, -turn, dx], [turn, zoom, dy], [0, 0, 1]])
    y, x = np.mgrid[:60, :70].astype(float)
    found = warp_upsampled(upsample((1000 + 3 * x - 2 * y).astype(np.float32)), to_now)
    back = np.linalg.inv(to_now)
    there_x, there_y = (back[k, 0] * x + back[k, 1] * y + back[k, 2] for k in range(2))
    inside = (there_x > 4) & (there_x < 65) & (there_y > 4) & (there_y < 55)  # the border is extended by reflection
    np.testing.assert_allclose(found[inside], (1000 + 3 * there_x - 2 * there_y)[inside], atol=0.01)
