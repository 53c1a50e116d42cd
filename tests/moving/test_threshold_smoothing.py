"""Smoothed thresholds: what they follow, what they ignore, and how many false peaks they let through."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.moving.threshold_smoothing import SMOOTHING, UNCERTAINTY, SmoothedThresholds


def cells(*values):
    return np.array([values], float)


def test_all_frames_count_alike_at_first_and_recent_ones_more_later():
    smoothed, seen = SmoothedThresholds(cautious=True), np.random.default_rng(0).uniform(4, 5, 30)
    for n in range(1, 11):
        assert smoothed.update(cells(seen[n - 1])) == pytest.approx(seen[:n].mean() + UNCERTAINTY / n)
    mean = seen[:10].mean()
    for n in range(11, 31):
        mean += SMOOTHING * (seen[n - 1] - mean)
        assert smoothed.update(cells(seen[n - 1])) == pytest.approx(mean + UNCERTAINTY / n)


def test_where_peaks_need_not_be_noise_the_first_frame_keeps_its_weight():
    smoothed = SmoothedThresholds(cautious=False)
    assert smoothed.update(cells(4.0, math.inf)).tolist() == [[4.0, math.inf]]
    assert smoothed.update(cells(5.0, 5.0)) == pytest.approx(cells(4.1, 5.0))
    assert smoothed.update(cells(5.0, 4.0)) == pytest.approx(cells(4.19, 4.9))


def test_cells_without_enough_peaks_keep_their_mean():
    smoothed = SmoothedThresholds(cautious=True)
    assert smoothed.update(cells(math.inf, 4.0)).tolist() == [[math.inf, 4.0 + UNCERTAINTY]]
    assert smoothed.update(cells(5.0, math.inf)).tolist() == [[5.0 + UNCERTAINTY, 4.0 + UNCERTAINTY]]
    assert smoothed.update(cells(math.inf, 6.0)) == pytest.approx(cells(5.0 + UNCERTAINTY, 5.0 + UNCERTAINTY / 2))


def test_cell_in_which_much_changes_at_once_gets_its_own_threshold():
    smoothed = SmoothedThresholds(cautious=True)
    for _ in range(20):
        smoothed.update(cells(4.0, 4.0))
    assert smoothed.update(cells(4.5, 9.0)) == pytest.approx(cells(4.05 + UNCERTAINTY / 21, 9.0))


@pytest.mark.parametrize("frames", [1, 2, 4, 8])
def test_uncertain_thresholds_let_as_many_false_peaks_through_as_exact_ones(frames):
    """With thresholds of 4 that vary by 0.4, and peaks that become rarer by a factor of e per 1 / 2.8."""
    rng, smoothed = np.random.default_rng(0), SmoothedThresholds(cautious=True)
    for _ in range(frames):
        applied = smoothed.update(rng.normal(4.0, 0.4, (200, 200)))
    assert np.exp(-2.8 * (applied - 4.0)).mean() == pytest.approx(1.0, rel=0.1)
