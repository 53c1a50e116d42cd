"""Assignment against brute force, and the association cost that decides contested detections."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from pipeline.track import imm
from pipeline.track.association import Pairs, assign, gate_at, missed_cost, pairs
from pipeline.track.imm import IMMState


def brute_force(cost, gate):
    """Return the least sum of cost - gate over all one-to-one choices of pairs."""
    n, m = cost.shape
    choices = itertools.permutations([*range(m), *[None] * n], n)
    return min(sum(cost[i, j] - gate for i, j in enumerate(columns) if j is not None) for columns in choices)


def alike(mean, cov):
    """Return targets whose two models have the same state."""
    return IMMState(mean[:, None].repeat(2, axis=1), cov[:, None].repeat(2, axis=1), np.full((len(mean), 2), 0.5))


def candidates(cost):
    """Return all pairs with a finite cost in a cost matrix."""
    rows, columns = np.nonzero(np.isfinite(cost))
    return Pairs(rows, columns, cost[rows, columns])


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 4), m=st.integers(0, 4), seed=st.integers(0, 10_000), forbidden=st.floats(0, 1))
def test_assignment_is_optimal(n, m, seed, forbidden):
    rng = np.random.default_rng(seed)
    cost = rng.uniform(-10, 50, (n, m))
    cost[rng.random((n, m)) < forbidden] = np.inf
    rows, columns = assign(candidates(cost), 25.0)
    assert len(set(rows.tolist())) == len(rows) and len(set(columns.tolist())) == len(columns)
    assert (cost[rows, columns] < 25.0).all()
    assert abs((cost[rows, columns] - 25.0).sum() - brute_force(cost, 25.0)) < 1e-9


def test_assignment_is_not_greedy():
    # Taking the cheapest pair (0, 0) first leaves 1 + 24; crossing costs 2 + 3.
    rows, columns = assign(candidates(np.array([[1.0, 2.0], [3.0, 24.0]])), 25.0)
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 1, 1: 0}


def test_one_good_pair_is_better_than_two_bad_pairs():
    # Both tracks matched: 20 + 20 - 2 x 25 = -10. Only the first: 1 - 25 = -24.
    rows, columns = assign(candidates(np.array([[1.0, 20.0], [20.0, np.inf]])), 25.0)
    assert (rows.tolist(), columns.tolist()) == ([0], [0])


def test_a_cost_equal_to_the_gate_is_rejected():
    assert assign(candidates(np.array([[24.999]])), 25.0)[0].tolist() == [0]
    assert assign(candidates(np.array([[25.0]])), 25.0)[0].tolist() == []


def test_the_more_certain_track_wins_a_contested_detection():
    mean = np.zeros((2, 4))
    cov = np.stack([np.eye(4) * 100.0, np.eye(4)])
    near = pairs(alike(mean, cov), np.array([[2.0, 0.0]]), 1.0, reach_px=60.0, gate=25.0)
    # d^2 + ln det S by hand: the uncertain track is nearer (4/101 < 4/2) but less likely.
    assert (near.rows.tolist(), near.columns.tolist()) == ([0, 1], [0, 0])
    np.testing.assert_allclose(near.cost, [4 / 101 + 2 * np.log(101), 4 / 2 + 2 * np.log(2)])
    assert near.cost[1] < near.cost[0]


def test_pairs_lists_all_pairs_within_reach_in_order():
    rng = np.random.default_rng(0)
    mean, measured = rng.uniform(0, 100, (40, 4)), rng.uniform(0, 100, (50, 2))
    mean[7, :2] = measured[9]  # a distance of zero is within reach as well
    near = pairs(alike(mean, np.eye(4)[None].repeat(40, axis=0)), measured, 1.0, reach_px=20.0, gate=np.inf)
    distance = np.linalg.norm(mean[:, None, :2] - measured[None], axis=2)
    assert np.stack([near.rows, near.columns], axis=1).tolist() == np.argwhere(distance <= 20).tolist()
    np.testing.assert_allclose(near.cost, distance[near.rows, near.columns] ** 2 / 2 + 2 * np.log(2))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), gate=st.floats(-5, 40), restless=st.floats(1, 200))
def test_pairs_omits_no_pair_below_the_gate(seed, gate, restless):
    rng = np.random.default_rng(seed)
    tracks, measured = imm.initiate(rng.uniform(0, 100, (30, 2)), 1.2, 90.0), rng.uniform(0, 100, (40, 2))
    for _ in range(rng.integers(1, 5)):
        tracks = imm.predict(tracks, 0.04, (5.0, restless))
        tracks = imm.update(tracks, tracks.centre()[:, :2] + rng.normal(size=(30, 2)), 1.2)
    few, every = (pairs(tracks, measured, 1.2, 60.0, bound) for bound in (gate, np.inf))
    for wanted, kept in zip(every.select(every.cost < gate), few.select(few.cost < gate), strict=True):
        assert np.array_equal(wanted, kept)


def test_empty_tracks_or_detections_give_no_pairs():
    for n, m in ((0, 0), (3, 0), (0, 3)):
        near = pairs(alike(np.zeros((n, 4)), np.zeros((n, 4, 4))), np.zeros((m, 2)), 1.0, 60.0, 25.0)
        assert [len(part) for part in (*near, *assign(near, 25.0))] == [0] * 5


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), m=st.integers(1, 60), seed=st.integers(0, 10_000), forbidden=st.floats(0.5, 1))
def test_uncontested_pairs_do_not_change_the_optimum(n, m, seed, forbidden):
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0, 40, (n, m))
    cost[rng.random((n, m)) < forbidden] = np.inf
    rows, columns = assign(candidates(cost), 25.0)
    gain = np.minimum(cost - 25.0, 0)
    np.testing.assert_allclose(gain[rows, columns].sum(), gain[linear_sum_assignment(gain)].sum())
    assert (np.diff(rows) > 0).all()


def test_every_missed_frame_costs_as_much():
    unseen_s = np.array([0.0, 0.1, 0.2, 0.3, 0.6])  # born now, seen last, missed once, twice, five times
    assert missed_cost(unseen_s, 0.1, 0.1, 0.9) == pytest.approx([0, 0, 2, 4, 10])


def test_missed_frames_cost_less_where_targets_are_often_missed():
    probability = 1 - 0.1**0.25  # four misses in a row are as likely as one miss of a target seen nine times in ten
    assert missed_cost(np.array([0.5]), 0.1, 0.1, probability) == pytest.approx([2])


def test_gate_is_that_of_the_most_likely_explanation():
    """Gates 2 ln(Pd / ((1 - Pd) 2 pi beta)) at two probabilities Pd and 5 false alarms per megapixel."""
    usual, rare = (2 * math.log(odds / (2 * math.pi * 5e-6)) for odds in (9, 0.25))
    assert gate_at(usual, 0.9) == usual
    assert gate_at(usual, 0.2) == pytest.approx(rare)


def test_missed_frames_of_a_fast_camera_cost_in_proportion_to_their_length():
    assert missed_cost(np.array([0.01, 0.05, 0.41]), 0.01, 0.01, 0.9) == pytest.approx([0, 2, 20])
