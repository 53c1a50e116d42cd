"""Interleaved timing of alternatives, and summary statistics."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

Way = TypeVar("Way")
MOST = 25  # rounds
LEAST = 3  # rounds


class Spread(NamedTuple):
    """A median, and the interquartile range relative to it as a measure of its reliability."""

    median: float
    spread: float


def interleave(
    ways: Mapping[Way, Callable[[], object]],
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
    least: int = LEAST,
) -> dict[Way, list[float]]:
    """Time several functions in turns (A B A B), so that disturbances affect all alike.

    The first round is a warm-up and does not count.

    Args:
        ways: functions to time, by name.
        budget_s: no round starts after this time in s once ``least`` rounds are done; there are at most ``MOST``
            rounds.
        clock: function that returns the time in s.
        least: minimum number of rounds that count.

    Returns:
        Durations in s of each function.
    """
    seconds: dict[Way, list[float]] = {name: [] for name in ways}
    begun = clock()
    for round_ in range(1 + MOST):
        if round_ > least and clock() - begun >= budget_s:
            break
        for name, way in ways.items():
            start = clock()
            way()
            if round_:
                seconds[name].append(clock() - start)
    return seconds


def summarise(values: list[float]) -> Spread:
    """Compute the median and the relative interquartile range, with linear interpolation of quartiles."""
    low, high = np.percentile(values, [25, 75])
    middle = statistics.median(values)
    return Spread(middle, float(high - low) / middle if middle else 0.0)
