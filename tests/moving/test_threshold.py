"""Thresholds estimated from the peaks of a frame."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.moving.peaks import find_peaks
from pipeline.moving.threshold import (
    CELL,
    RANKS,
    TAIL_EXPONENTS,
    expand,
    grid,
    median_of_neighbours,
    median_tail_exponent,
    noisiness,
    ranked_peaks,
    tail_exponents,
    thresholds,
)

CELLS, PEAKS = 20, 120


def ranked(heights):
    """Return the heights at ``RANKS`` of peaks (cells, peaks)."""
    return -np.sort(-heights, axis=1)[:, [rank - 1 for rank in RANKS]][None]


def weibull(rng, exponent, scale=1.0):
    return scale * rng.weibull(exponent, (CELLS, PEAKS))


@pytest.mark.parametrize("rate", [0.5, 2.0, 20.0])
@pytest.mark.parametrize("exponent", [0.8, 1.0, 2.0])
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_peaks_pass_at_the_wanted_rate_whatever_their_distribution(rate, exponent, scale):
    rng = np.random.default_rng(0)
    passed = []
    for _ in range(200):
        heights = weibull(rng, exponent, scale)
        heights_by_rank = ranked(heights)
        passed.append((heights > thresholds(heights_by_rank, rate, exponent)[0][:, None]).sum())
    assert np.mean(passed) == pytest.approx(rate, rel=0.5)


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.5, 2.0])
def test_the_tail_exponent_is_estimated_from_the_peaks(exponent):
    rng = np.random.default_rng(1)
    estimates = [median_tail_exponent(tail_exponents(ranked(weibull(rng, exponent)))) for _ in range(200)]
    assert np.mean(estimates) == pytest.approx(exponent, rel=0.12)


def test_exponent_and_threshold_of_three_heights_worked_by_hand():
    # Squared heights fall linearly with the logarithm of rank, so the exponent is 2.
    heights = np.sqrt(30 - 4 * np.log(np.array(RANKS)))
    assert median_tail_exponent(tail_exponents(heights[None, None])) == pytest.approx(2.0)
    (threshold,) = thresholds(heights[None, None], 0.5, 2.0).ravel()
    assert threshold == pytest.approx(np.sqrt(30 - 4 * np.log(0.5)))


def test_exponents_outside_the_candidates_are_clipped():
    flat, steep = np.array([[[9.0, 9.0, 1.0]]]), np.array([[[90.0, 9.0, 8.9]]])
    assert median_tail_exponent(tail_exponents(flat)) == TAIL_EXPONENTS[-1]
    assert median_tail_exponent(tail_exponents(steep)) == TAIL_EXPONENTS[0]


def test_targets_in_half_of_the_cells_change_neither_exponent_nor_thresholds_by_much():
    rng = np.random.default_rng(2)
    heights = weibull(rng, 2.0)
    crowded = heights.copy()
    crowded[: CELLS // 2, :2] = 40
    before, after = ranked(heights), ranked(crowded)
    assert median_tail_exponent(tail_exponents(after)) > median_tail_exponent(tail_exponents(before)) - 0.4
    raised = thresholds(after, 2.0, median_tail_exponent(tail_exponents(after))) - thresholds(
        before, 2.0, median_tail_exponent(tail_exponents(before))
    )
    assert raised.max() < 0.6


def test_smoothed_exponents_are_the_median_of_the_neighbourhood():
    exponents = np.array([[1.0, 1.0, 2.0, 2.0], [1.0, 9.0, 2.0, np.nan], [1.0, 1.0, 2.0, 2.0]])
    around = median_of_neighbours(exponents)
    assert around[1].tolist() == [1.0, 1.0, 2.0, 2.0], "one odd cell, and one without an estimate"
    assert around[0].tolist() == [1.0, 1.5, 2.0, 2.0], "the middle of six: 1, 1, 1, 2, 2 and 9"
    assert np.isnan(median_of_neighbours(np.full((2, 3), np.nan))).all()
    assert median_of_neighbours(np.array([[np.nan, 1.2]])).tolist() == [[1.2, 1.2]]


def test_every_cell_passes_at_the_same_rate_with_its_own_exponent():
    rng = np.random.default_rng(6)
    exponent = np.where(np.arange(CELLS) < CELLS // 2, 1.0, 2.0)
    passed = []
    for _ in range(300):
        heights = rng.weibull(exponent[:, None], (CELLS, PEAKS))
        passed.append(heights > thresholds(ranked(heights), 2.0, exponent)[0][:, None])
    rates = np.mean(passed, axis=0).sum(axis=1).reshape(2, -1).sum(axis=1)
    assert rates == pytest.approx([1.0, 1.0], rel=0.5)
    one_for_all = np.mean([h > thresholds(ranked(h), 2.0, 2.0)[0][:, None] for h in _weibulls(rng, exponent)], axis=0)
    assert one_for_all.sum(axis=1)[: CELLS // 2].sum() > 3


def _weibulls(rng, exponent):
    return [rng.weibull(exponent[:, None], (CELLS, PEAKS)) for _ in range(300)]


def test_fast_tails_are_noise_and_slow_ones_clutter():
    assert noisiness(0.8) == noisiness(1.5) == 0
    assert noisiness(2.0) == 1
    assert noisiness(1.7) == pytest.approx(0.5)
    assert noisiness(math.nan) == 0


def test_a_rate_above_the_second_rank_gives_the_height_at_that_rank():
    heights_by_rank = ranked(weibull(np.random.default_rng(4), 1.0))
    assert (thresholds(heights_by_rank, 1e6, 1.0) == heights_by_rank[..., 1]).all()


def test_cells_with_too_few_peaks_have_no_threshold():
    picture = np.zeros((64, 128), np.float32)
    picture[4:60:8, 4:60:8] = np.random.default_rng(5).uniform(1, 2, (7, 7))
    picture[4:20:8, 68:124:8] = 1.0
    heights_by_rank = ranked_peaks(find_peaks(picture), picture.shape)
    assert heights_by_rank.shape == (1, 2, 3)
    assert (
        heights_by_rank[0, 0].tolist()
        == np.sort(picture[:, :64], axis=None)[::-1][[rank - 1 for rank in RANKS]].tolist()
    )
    assert np.isnan(heights_by_rank[0, 1]).all()
    assert list(np.isinf(thresholds(heights_by_rank, 1.0, 1.0))[0]) == [False, True]


def test_each_cell_has_its_own_threshold():
    rng = np.random.default_rng(3)
    picture = np.abs(rng.normal(size=(128, 256))).astype(np.float32)
    picture[:, 128:] *= 3
    found = thresholds(ranked_peaks(find_peaks(picture), picture.shape), 1.0, 2.0)
    assert found.shape == grid(picture.shape) == (2, 4)
    assert found[:, 2:].min() > 2 * found[:, :2].max()
    whole = expand(found, picture.shape)
    assert whole.shape == picture.shape
    assert (whole[:64, :64] == np.float32(found[0, 0])).all()
    assert (whole[64:, 192:] == np.float32(found[1, 3])).all()


def test_every_pixel_has_a_cell_in_frames_of_any_size():
    for shape in ((32, 32), (33, 250), (512, 640)):
        rows, columns = grid(shape)
        cells = np.arange(rows * columns, dtype=float).reshape(rows, columns)
        counts = np.unique(expand(cells, shape), return_counts=True)[1]
        assert len(counts) == rows * columns
        assert counts.max() <= (1.5 * CELL) ** 2


def test_a_flat_picture_has_no_exponent_and_no_threshold():
    flat = np.zeros((64, 64), np.float32)
    heights_by_rank = ranked_peaks(find_peaks(flat), flat.shape)
    assert math.isnan(median_tail_exponent(tail_exponents(heights_by_rank)))
    assert np.isinf(thresholds(heights_by_rank, 1.0, math.nan)).all()
