"""Percentiles of durations in constant memory."""

from __future__ import annotations

import numpy as np

from pipeline.control_link import LATENCY_BOUNDS_S, Latency, LatencyBuckets

_FIRST_NS = 1_000.0
_RATIO = 1.02
_BINS = 1100  # covers up to about 48 minutes


def _bin(duration_ns: float) -> int:
    return min(int(np.log(max(duration_ns, _FIRST_NS) / _FIRST_NS) / np.log(_RATIO)), _BINS - 1)


_BOUND_BINS = [_bin(bound * 1e9) for bound in LATENCY_BOUNDS_S]


class LatencyHistogram:
    """Histogram of durations with bins that grow by 2 %.

    Percentiles are accurate to 1 % from a microsecond to half an hour.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self._sum_s = 0.0

    def add(self, duration_ns: int) -> None:
        """Count one duration in ns; values out of range go to the first or last bin."""
        self._counts[_bin(duration_ns)] += 1
        self._sum_s += duration_ns / 1e9

    def summary(self) -> Latency:
        """Return the number of samples and the percentiles in milliseconds (0 without samples)."""
        count = int(self._counts.sum())
        if count == 0:
            return Latency(count=0, p50=0.0, p95=0.0, p99=0.0)
        ranks = np.ceil(np.array([0.50, 0.95, 0.99]) * count)
        bins = np.searchsorted(np.cumsum(self._counts), ranks)
        p50, p95, p99 = (_FIRST_NS * _RATIO ** (bins + 0.5) / 1e6).round(3).tolist()
        return Latency(count=count, p50=p50, p95=p95, p99=p99)

    def buckets(self) -> LatencyBuckets:
        """Return the counts in the few buckets exported to monitoring; their bounds are accurate to 2 %."""
        cumulative = np.cumsum(self._counts)
        counts = tuple(cumulative[_BOUND_BINS].tolist())
        return LatencyBuckets(counts=counts, count=int(cumulative[-1]), sum_s=self._sum_s)
