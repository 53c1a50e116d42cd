"""Track starts at a limited rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.track.start_threshold import GAIN, MAX_LOGIT, StartThreshold, logit

DT = 1 / 25


def logistic(odds):
    return 1 / (1 + np.exp(-np.asarray(odds, float)))


def test_without_a_rate_the_threshold_is_constant():
    score = StartThreshold(0.9, None)
    assert [score.update(np.full(50, 0.999), DT) for _ in range(5)] == [0.9] * 5


def test_by_hand():
    score = StartThreshold(0.5, 60.0)  # one per second: it falls by 0.02 per frame and rises by 0.5 per start
    assert score.update(logistic([1.0, 2.0, -1.0]), DT) == 0.5
    assert score.update(logistic([0.97, 0.5]), DT) == pytest.approx(logistic(2 * GAIN - 0.02))  # both were above 0
    assert score.update(np.empty(0), DT) == pytest.approx(logistic(2 * GAIN - 0.04))
    assert score.update(np.empty(0), 2.0) == pytest.approx(logistic(2 * GAIN - 0.06))
    assert score.update(np.empty(0), DT) == 0.5


@given(
    least=st.floats(0.01, 0.9999),
    per_minute=st.floats(0.5, 600),
    scores=st.lists(st.lists(st.floats(0, 0.999999), max_size=20), min_size=1, max_size=200),
)
def test_the_number_of_starts_is_bounded_by_the_rate(least, per_minute, scores):
    """Starts above the rate raise the threshold, which is bounded, and so their number is bounded."""
    score, started = StartThreshold(least, per_minute), 0
    for frame in scores:
        found = np.array(frame, np.float32)
        enough = score.update(found, DT)
        assert least <= enough < 1
        started += int((found >= enough).sum())
    room = (MAX_LOGIT - math.log(least / (1 - least))) / GAIN
    assert started <= len(scores) * DT * per_minute / 60 + room + 20


def test_stationary_scores_settle_at_the_permitted_rate():
    rng, score, started = np.random.default_rng(0), StartThreshold(0.5, 120.0), 0
    for frame in range(4000):
        found = logistic(rng.normal(3, 2, 30))
        enough = score.update(found, DT)
        started += int((found >= enough).sum()) if frame >= 1000 else 0
    assert started / (3000 * DT / 60) == pytest.approx(120, rel=0.1)


def test_scores_of_zero_and_one():
    assert logit(np.array([0.0, 0.5, 1.0], np.float32)).tolist() == [-math.inf, 0.0, math.inf]
    score = StartThreshold(1.0, 1.0)
    assert score.update(np.ones(1, np.float32), DT) == 1.0


def test_starts_are_limited_from_a_score_of_zero_on():
    threshold = StartThreshold(0.0, per_minute=60.0)
    scores, started = np.random.default_rng(0).uniform(0, 1, (2000, 5)), 0
    for k, seen in enumerate(scores):
        least = threshold.update(seen, 0.1)
        started += int((seen >= least).sum()) if k >= 1000 else 0
    assert started == pytest.approx(100, abs=20)
