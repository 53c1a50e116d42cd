"""Durations measured in turns, and what is told of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

Way = TypeVar("Way")
MOST = 25
LEAST = 3


class Spread(NamedTuple):
    """A median, and the distance of the quartiles as a share of it: how much to trust it."""

    median: float
    spread: float


def interleave(
    ways: Mapping[Way, Callable[[], object]],
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
    least: int = LEAST,
) -> dict[Way, list[float]]:
    """Seconds that each way takes, in turns A B A B, so that whatever disturbs disturbs all alike.

    A first round warms up and does not count.

    Args:
        ways: what is called, by name.
        budget_s: after so many seconds no round is begun, once there are ``least``; there are at most ``MOST``.
        clock: seconds.
        least: rounds that count.
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
    """Median and relative distance of the quartiles; quartiles interpolate linearly."""
    low, high = np.percentile(values, [25, 75])
    middle = statistics.median(values)
    return Spread(middle, float(high - low) / middle if middle else 0.0)
