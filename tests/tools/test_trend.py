from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.trend import percentile, slope, thirds

HOUR = np.linspace(0, 3600, 400)


@given(st.floats(-50, 50), st.integers(0, 2**32 - 1))
def test_slope_is_found_in_noise_and_among_outliers(leak: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = 200 + leak * HOUR / 3600 + rng.normal(0, 0.1, 400)
    values[rng.choice(400, 80, replace=False)] += 500  # a fifth of the points are outliers
    found = slope(HOUR.tolist(), values.tolist())
    assert found.per_hour == pytest.approx(leak, abs=0.25)
    assert found.low <= found.per_hour <= found.high


def test_the_interval_distinguishes_a_leak_from_noise() -> None:
    noise = np.random.default_rng(3).normal(0, 1, 400)
    steady, leaking = slope(HOUR.tolist(), noise.tolist()), slope(HOUR.tolist(), (noise + 2 * HOUR / 3600).tolist())
    assert steady.low < 0 < steady.high
    assert 0 < leaking.low < 2 < leaking.high


def test_slope_worked_by_hand() -> None:
    # Pairs of (0, 1), (1, 3), (2, 2) in hours: 2, 0.5, -1; the median is 0.5.
    assert slope([0, 3600, 7200], [1, 3, 2]).per_hour == 0.5


def test_two_points_are_refused() -> None:
    with pytest.raises(ValueError, match="three points, not 2"):
        slope([0, 1], [1, 2])


def test_thirds_and_percentiles_worked_by_hand() -> None:
    assert thirds([1, 2, 3, 4, 5, 6, 7]) == ([1, 2], [6, 7])
    assert thirds([1, 2]) == ([1, 2], [1, 2])
    assert percentile([4, 1, 3, 2], 50) == 2
    assert percentile([4, 1, 3, 2], 99) == 4
    assert np.isnan(percentile([], 50))
