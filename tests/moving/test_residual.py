"""Significance of change against past frames."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from pipeline.moving.residual import NOISE_GAIN, is_featureless, significance

H, W = 120, 160


def noisy(seed, sigma=10.0, background=500.0):
    return (background + np.random.default_rng(seed).normal(0, sigma, (H, W))).astype(np.float32)


def add_target(picture, x, y, peak):
    rows, columns = np.mgrid[:H, :W]
    picture += (peak * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 0.95**2))).astype(np.float32)
    return picture


@pytest.mark.parametrize("sigma", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("slope", [0.0, 300.0, 3000.0])
def test_a_clear_sky_is_featureless_with_a_target_and_whatever_its_slope(sigma, slope):
    sky = add_target(noisy(0, sigma) + np.linspace(0, slope, H, dtype=np.float32)[:, None], 80, 60, 20 * sigma)
    assert is_featureless(np.rint(sky))


def test_clouds_and_compressed_noise_are_not_featureless():
    clouds = cv2.GaussianBlur(np.random.default_rng(9).normal(0, 1, (H, W)).astype(np.float32), (0, 0), 3)
    assert not is_featureless(noisy(0) + 15 * clouds / clouds.std())
    assert not is_featureless(cv2.GaussianBlur(noisy(0), (0, 0), 0.8))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_noise_has_unit_deviation_and_a_target_stands_out_where_it_is(count):
    now, past = add_target(noisy(0), 80, 60, 60), [noisy(1 + k) for k in range(count)]
    found, noise = significance(now, past)
    quiet = np.ones((H, W), bool)
    quiet[50:70, 70:90] = False
    assert np.sqrt(np.mean(found[quiet] ** 2)) == pytest.approx(1, abs=0.15)
    assert np.hypot(*np.subtract(np.unravel_index(found.argmax(), found.shape), (60, 80))) <= 1
    assert found.max() > 5
    assert noise == pytest.approx(10 * NOISE_GAIN[count], rel=0.05)


def test_dark_targets_are_as_significant_as_bright_ones():
    past = [noisy(seed) for seed in (1, 2, 3)]
    bright = significance(add_target(noisy(0), 80, 60, 60), past)[0]
    dark = significance(add_target(noisy(0), 80, 60, -60), past)[0]
    assert bright[60, 80] > 5
    assert dark[60, 80] > 5


@pytest.mark.parametrize("others", [1, 2])
def test_a_target_in_one_past_frame_leaves_no_ghost(others):
    now, past = noisy(0), [add_target(noisy(1), 80, 60, 200), *(noisy(2 + k) for k in range(others))]
    assert significance(now, past)[0][57:64, 77:84].max() < 4


def test_stationary_targets_are_not_significant():
    frames = [add_target(noisy(seed), 80, 60, 300) for seed in range(4)]
    assert significance(frames[0], frames[1:])[0][55:66, 75:86].max() < 4.5


def test_a_jittering_edge_is_suppressed_and_a_target_beside_it_is_not():
    def edge(seed, at):
        step = np.where(np.arange(W)[None, :] < at, 500, 900).astype(np.float32).repeat(H, axis=0)
        return cv2.GaussianBlur(step, (0, 0), 1.0) + noisy(seed, background=0.0)

    now = add_target(edge(0, 80.0), 30, 60, 70)
    found, _ = significance(now, [edge(1, 79.0), edge(2, 80.0), edge(3, 81.0)])
    assert found[:, 76:85].max() < 5
    assert found[60, 30] > 6


def test_pixels_out_of_view_are_zero():
    past = [noisy(seed) for seed in (1, 2, 3)]
    past[1][:, 100:] = np.nan
    found, noise = significance(add_target(noisy(0), 60, 60, 80), past)
    assert np.isfinite(found).all()
    assert np.isfinite(noise)
    assert not found[:, 96:].any()
    assert found[60, 60] > 6
    found, noise = significance(noisy(0), [*past[:2], np.full_like(past[0], np.nan)])
    assert not found.any()
    assert math.isnan(noise)
