from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.control_link import LATENCY_BOUNDS_S, Latency
from pipeline.sinks.latency import LatencyHistogram


def summary(durations):
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(duration)
    return histogram.summary()


def test_summary_without_samples_is_zero():
    assert summary([]) == Latency(count=0, p50=0.0, p95=0.0, p99=0.0)


@given(st.lists(st.integers(1_000, 1_800_000_000_000), min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_percentiles_are_accurate_to_one_percent(durations):
    found = summary(durations)
    assert found.count == len(durations)
    for percent, value in ((50, found.p50), (95, found.p95), (99, found.p99)):
        exact = np.percentile(durations, percent, method="inverted_cdf") / 1e6
        assert abs(value - exact) <= 0.01 * exact + 0.0006


def test_out_of_range_durations_count_in_the_outer_bins():
    assert summary([-5, 0, 10]).p99 == pytest.approx(0.001, rel=0.02)
    assert summary([10**18]).p50 > 40 * 60_000


@given(st.lists(st.integers(1_000, 100_000_000_000), max_size=200))
@settings(max_examples=50, deadline=None)
def test_buckets_count_durations_up_to_their_bound(durations):
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(duration)
    buckets = histogram.buckets()
    assert buckets.count == len(durations)
    assert buckets.sum_s == pytest.approx(sum(durations) / 1e9)
    for bound, count in zip(LATENCY_BOUNDS_S, buckets.counts, strict=True):
        assert sum(d <= bound * 1e9 for d in durations) <= count <= sum(d <= bound * 1.03e9 for d in durations)
