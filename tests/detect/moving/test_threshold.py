"""The threshold that follows from a frame's own peaks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.detect.moving.threshold import CELL, RANKS, grid, spread, threshold_for, thresholds


@pytest.mark.parametrize("rate", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_exponential_peaks_pass_at_the_wanted_rate(rate, scale):
    rng = np.random.default_rng(0)
    passed = []
    for _ in range(800):
        heights = rng.exponential(scale, 200).astype(np.float32)
        passed.append((heights > threshold_for(heights, rate)).sum())
    assert np.mean(passed) == pytest.approx(rate, rel=0.5)


def test_gaussian_noise_passes_more_rarely_than_wanted():
    rng = np.random.default_rng(1)
    passed = []
    for _ in range(300):
        heights = np.abs(rng.normal(size=400)).astype(np.float32)
        passed.append((heights > threshold_for(heights, 0.5)).sum())
    assert np.mean(passed) < 0.5


def test_two_targets_hardly_raise_it():
    rng = np.random.default_rng(2)
    heights = rng.exponential(0.4, 200).astype(np.float32)
    crowded = heights.copy()
    crowded[:2] = 40
    assert threshold_for(crowded, 0.5) < threshold_for(heights, 0.5) + 0.8


def test_too_few_peaks_tell_nothing():
    assert math.isinf(threshold_for(np.ones(RANKS[1] - 1, np.float32), 0.5))


def test_each_cell_has_its_own():
    rng = np.random.default_rng(3)
    picture = np.abs(rng.normal(size=(128, 256))).astype(np.float32)
    picture[:, 128:] *= 3
    found = thresholds(picture, 1.0)
    assert found.shape == grid(picture.shape) == (2, 4)
    assert found[:, 2:].min() > 2 * found[:, :2].max()
    whole = spread(found, picture.shape)
    assert whole.shape == picture.shape
    assert (whole[:64, :64] == np.float32(found[0, 0])).all()
    assert (whole[64:, 192:] == np.float32(found[1, 3])).all()


def test_every_pixel_has_a_cell_in_frames_of_any_size():
    for shape in ((32, 32), (33, 250), (512, 640)):
        rows, columns = grid(shape)
        cells = np.arange(rows * columns, dtype=float).reshape(rows, columns)
        counts = np.unique(spread(cells, shape), return_counts=True)[1]
        assert len(counts) == rows * columns
        assert counts.max() <= (1.5 * CELL) ** 2


def test_a_flat_picture_has_no_threshold():
    assert np.isinf(thresholds(np.zeros((64, 64), np.float32), 1.0)).all()
