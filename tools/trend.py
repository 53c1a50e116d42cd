"""Robust trend statistics of measurements over time: does a series grow?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.stats import theilslopes

T = TypeVar("T")


class Slope(NamedTuple):
    """Growth per hour with its 95 % confidence interval."""

    per_hour: float
    low: float
    high: float


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """Compute the Theil-Sen slope, the median of the slopes of all pairs of points, with Sen's confidence interval.

    See Theil (1950) and Sen (1968). Up to 29 % of the points may be arbitrary outliers. The interval assumes
    independent points; for a value that changes in steps it is too narrow.

    Args:
        seconds: time of each value in s; not all equal.
        values: as many values, in any unit.

    Raises:
        ValueError: fewer than three points.
    """
    if len(seconds) < 3:
        raise ValueError(f"a slope needs three points, not {len(seconds)}")
    found = theilslopes(np.asarray(values, np.float64), np.asarray(seconds, np.float64) / 3600)
    return Slope(float(found.slope), float(found.low_slope), float(found.high_slope))


def thirds(values: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Return the first and the last third, or the whole sequence twice if it has fewer than three values."""
    third = len(values) // 3
    return (values[:third], values[-third:]) if third else (values, values)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that ``percent`` of the values do not exceed; nan without values."""
    if not values:
        return float("nan")
    return float(np.percentile(np.asarray(values), percent, method="inverted_cdf"))
