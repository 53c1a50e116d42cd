"""Does a series grow? Robust figures of measurements over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.stats import theilslopes

T = TypeVar("T")


class Slope(NamedTuple):
    """Growth per hour, and the ends of its 95 % confidence interval."""

    per_hour: float
    low: float
    high: float


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """The median of the slopes of all pairs of points (Theil 1950, Sen 1968), with Sen's interval.

    Up to 29 % of the points may lie anywhere. The interval takes them as independent: for a value that moves in
    steps it is narrower than it should be.

    Args:
        seconds: when each value was taken, not all the same.
        values: in any unit, as many.

    Raises:
        ValueError: fewer than three points.
    """
    if len(seconds) < 3:
        raise ValueError(f"a slope needs three points, not {len(seconds)}")
    found = theilslopes(np.asarray(values, np.float64), np.asarray(seconds, np.float64) / 3600)
    return Slope(float(found.slope), float(found.low_slope), float(found.high_slope))


def thirds(values: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """The first and the last third; the same whole where there are fewer than three."""
    third = len(values) // 3
    return (values[:third], values[-third:]) if third else (values, values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` of the values do not exceed; nan without values."""
    if not values:
        return float("nan")
    return float(np.percentile(np.asarray(values), percent, method="inverted_cdf"))
