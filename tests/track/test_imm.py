"""The IMM filter against hand-computed values and against the textbook equations for a single target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.track import imm, kalman
from pipeline.track.imm import CRUISE, MANOEUVRE, SOJOURN_S, IMMState

SIGMAS = (5.0, 90.0)
DT = 1 / 25


def random_imm(n, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, 2, 4, 4))
    weight = rng.uniform(0.05, 1, (n, 2))
    cov = root @ root.swapaxes(2, 3) + np.eye(4)
    return IMMState(rng.normal(0, 20, (n, 2, 4)), cov, weight / weight.sum(axis=1, keepdims=True))


def fly(path, start=None):
    """Return the state after every point of a path (t, 2) in px at 25 frames/s."""
    state = imm.initiate(np.array([path[0]]), 1.2, 90.0) if start is None else start
    states = [state]
    for point in path[1:]:
        state = imm.update(imm.predict(state, DT, SIGMAS), np.array([point]), 1.2)
        states.append(state)
    return states


def test_model_transitions_follow_the_mean_sojourn_times():
    # Rates 1/5 and 2 per second, 2.2 in total; in the long run a target manoeuvres 1/11 of the time.
    first = imm.initiate(np.zeros((1, 2)), 1.0, 1.0)
    assert first.weight[0] == pytest.approx([10 / 11, 1 / 11])
    assert imm.predict(first, 0.3, SIGMAS).weight[0] == pytest.approx([10 / 11, 1 / 11])
    certain = first._replace(weight=np.array([[1.0, 0.0]]))
    left = 1 / 11 * (1 - np.exp(-2.2 * 0.3))
    assert imm.predict(certain, 0.3, SIGMAS).weight[0] == pytest.approx([1 - left, left])
    twice = imm.predict(imm.predict(certain, 0.1, SIGMAS), 0.2, SIGMAS)
    assert twice.weight[0] == pytest.approx([1 - left, left])


def test_moments_match_hand_computed_values():
    # Means 0 and 4, variances 1 and 9, weights 3/4 and 1/4: mean 1, variance 3/4 (1 + 1) + 1/4 (9 + 9) = 6.
    mean = np.zeros((1, 2, 4))
    mean[0, MANOEUVRE, 0] = 4.0
    cov = np.stack([np.eye(4), 9 * np.eye(4)])[None]
    both, spread = IMMState(mean, cov, np.array([[0.75, 0.25]])).moments()
    assert both[0] == pytest.approx([1, 0, 0, 0])
    assert np.diag(spread[0]) == pytest.approx([6, 3, 3, 3])


def test_likelihood_is_the_mixture_over_both_models():
    # N(2; 0, 1 + 3) and N(2; 0, 1 + 15) in x, at 0 in y: exp(-1/2) / 4 and exp(-1/8) / 16, over 2 pi.
    cov = np.stack([3 * np.eye(4), 15 * np.eye(4)])[None]
    states = IMMState(np.zeros((1, 2, 4)), cov, np.array([[0.8, 0.2]]))
    expected = 0.8 * np.exp(-1 / 2) / 4 + 0.2 * np.exp(-1 / 8) / 16
    assert imm.twice_nll(states, np.array([[2.0, 0.0]]), 1.0) == pytest.approx(-2 * np.log(expected))
    weight = imm.update(states, np.array([[2.0, 0.0]]), 1.0).weight[0]
    assert weight == pytest.approx([0.8 * np.exp(-1 / 2) / 4 / expected, 0.2 * np.exp(-1 / 8) / 16 / expected])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), dt=st.floats(0.005, 0.5))
def test_a_step_matches_the_textbook_equations(seed, dt):
    """Equations 11.6.6-6 to 15 of Bar-Shalom, Li, Kirubarajan (2001), written with loops over the models."""
    before = random_imm(3, seed)
    z = np.random.default_rng(seed).normal(0, 10, (3, 2))
    got = imm.update(imm.predict(before, dt, SIGMAS), z, 1.3)
    a, b = 1 / SOJOURN_S
    gone = 1 - np.exp(-(a + b) * dt)
    p = np.array([[1 - a / (a + b) * gone, a / (a + b) * gone], [b / (a + b) * gone, 1 - b / (a + b) * gone]])
    for t in range(3):
        mu, means, covs, likelihood = before.weight[t], [], [], []
        ahead = [sum(p[i, j] * mu[i] for i in range(2)) for j in range(2)]
        for j in range(2):
            mixing = [p[i, j] * mu[i] / ahead[j] for i in range(2)]
            mean = sum(mixing[i] * before.mean[t, i] for i in range(2))
            cov = sum(
                mixing[i] * (before.cov[t, i] + np.outer(before.mean[t, i] - mean, before.mean[t, i] - mean))
                for i in range(2)
            )
            mean, cov = kalman.predict(mean[None], cov[None], dt, SIGMAS[j])
            residual, spread = kalman.innovation(mean, cov, z[t : t + 1], 1.3)
            root = np.linalg.inv(spread[0])
            likelihood.append(np.exp(-0.5 * residual[0] @ root @ residual[0]) / np.sqrt(np.linalg.det(spread[0])))
            mean, cov = kalman.update(mean, cov, z[t : t + 1], 1.3)
            means.append(mean[0])
            covs.append(cov[0])
        total = sum(ahead[j] * likelihood[j] for j in range(2))
        if total < 1e-200:
            continue
        np.testing.assert_allclose(got.weight[t], [ahead[j] * likelihood[j] / total for j in range(2)], atol=1e-9)
        np.testing.assert_allclose(got.mean[t], means, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(got.cov[t], covs, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            imm.twice_nll(imm.predict(before, dt, SIGMAS), z, 1.3)[t], -2 * np.log(total), rtol=1e-6, atol=1e-6
        )


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 5), seed=st.integers(0, 100))
def test_two_identical_models_equal_a_single_kalman_filter(n, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 30, (4, n, 2))
    both, one = imm.initiate(z[0], 1.2, 90.0), kalman.initiate(z[0], 1.2, 90.0)
    for points in z[1:]:
        both = imm.update(imm.predict(both, DT, (40.0, 40.0), 0.5), points, 1.2)
        mean, cov = kalman.predict(*one, DT, 40.0)
        cov[:, [0, 1], [0, 1]] += 0.25
        one = kalman.update(mean, cov, points, 1.2)
    for got, expected in zip(both.moments(), one, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_straight_flight_is_classified_as_cruise_and_extrapolated():
    rng = np.random.default_rng(0)
    path = np.array([[10 + 0.5 * t, 40.0] for t in range(60)]) + rng.normal(0, 0.3, (60, 2))
    state = fly(path)[-1]
    assert state.weight[0, CRUISE] > 0.9
    for _ in range(20):
        state = imm.predict(state, DT, SIGMAS)
    mean, _ = state.moments()
    assert mean[0, :2] == pytest.approx([10 + 0.5 * 79, 40], abs=1.5)
    restless = imm.initiate(path[:1], 1.2, 90.0)
    for point in path[1:]:
        restless = imm.update(imm.predict(restless, DT, (90.0, 90.0)), point[None], 1.2)
    for _ in range(20):
        restless = imm.predict(restless, DT, (90.0, 90.0))
    assert np.trace(restless.moments()[1][0][:2, :2]) > 4 * np.trace(state.moments()[1][0][:2, :2])


def test_a_turn_is_classified_as_manoeuvre_and_followed():
    straight = [[10 + 1.0 * t, 40.0] for t in range(40)]
    turned = [[50.0, 40 + 2.5 * t] for t in range(12)]
    states = fly(np.array([*straight, *turned]))
    assert states[39].weight[0, CRUISE] > 0.9
    assert max(state.weight[0, MANOEUVRE] for state in states[40:48]) > 0.9
    mean, _ = states[-1].moments()
    assert mean[0, :2] == pytest.approx(turned[-1], abs=1.0)
    assert mean[0, 2:] == pytest.approx([0, 62.5], abs=12)


def test_warp_transforms_both_models():
    quarter_turn = (0.0, -1.0, 100.0, 1.0, 0.0, 0.0)
    states = random_imm(3)
    turned = imm.warp(states, quarter_turn)
    for model in range(2):
        mean, cov = kalman.warp(states.mean[:, model], states.cov[:, model], quarter_turn)
        assert np.array_equal(turned.mean[:, model], mean) and np.array_equal(turned.cov[:, model], cov)
    assert np.array_equal(turned.weight, states.weight)


def test_only_selects_targets_and_concat_appends_them():
    states = random_imm(4)
    parts = states.select(np.array([True, False, True, False])).concat(states.select(np.array([3, 1])))
    for got, expected in zip(parts, states.select(np.array([0, 2, 3, 1])), strict=True):
        assert np.array_equal(got, expected)
    assert all(np.array_equal(a, b) for a, b in zip(imm.NO_TRACK.concat(states), states, strict=True))
