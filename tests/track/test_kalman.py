"""The Kalman filter against hand-computed values and against the textbook equations for a single target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.track import kalman


def random_states(n, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, 4, 4))
    return rng.normal(0, 50, (n, 4)), root @ root.swapaxes(1, 2) + np.eye(4)


def test_initiate_by_hand():
    mean, cov = kalman.initiate(np.array([[3.0, 4.0], [5.0, 6.0]]), 2.0, 90.0)
    assert mean.tolist() == [[3, 4, 0, 0], [5, 6, 0, 0]]
    assert cov[1].tolist() == np.diag([4.0, 4.0, 8100.0, 8100.0]).tolist()


def test_predict_by_hand():
    mean, cov = kalman.predict(np.array([[1.0, 2.0, 10.0, -20.0]]), np.eye(4)[None], dt=0.5, accel_sigma=2.0)
    assert mean[0] == pytest.approx([6.0, -8.0, 10.0, -20.0])
    # P_xx = 1 + dt^2 + 4 dt^3/3, P_xv = dt + 4 dt^2/2, P_vv = 1 + 4 dt
    assert cov[0, 0, 0] == pytest.approx(1 + 0.25 + 4 * 0.125 / 3)
    assert cov[0, 0, 2] == pytest.approx(0.5 + 4 * 0.125)
    assert cov[0, 2, 2] == pytest.approx(3.0)
    assert cov[0, 0, 1] == cov[0, 0, 3] == 0.0


def test_update_by_hand():
    # Prior variance 9, measurement variance 1: gain 0.9 in position, 0.3 in velocity (covariance 3).
    cov = np.kron([[9.0, 3.0], [3.0, 4.0]], np.eye(2))[None]
    mean, cov = kalman.update(np.array([[0.0, 0.0, 1.0, 1.0]]), cov, np.array([[10.0, -10.0]]), 1.0)
    assert mean[0] == pytest.approx([9.0, -9.0, 4.0, -2.0])
    assert cov[0] == pytest.approx(np.kron([[0.9, 0.3], [0.3, 4 - 0.9]], np.eye(2)))


def test_warp_by_hand():
    quarter_turn = (0.0, -1.0, 100.0, 1.0, 0.0, 0.0)
    mean, cov = kalman.warp(np.array([[10.0, 20.0, 1.0, 2.0]]), np.diag([1.0, 2.0, 3.0, 4.0])[None], quarter_turn)
    assert mean[0].tolist() == [80.0, 10.0, -2.0, 1.0]
    assert cov[0].tolist() == np.diag([2.0, 1.0, 4.0, 3.0]).tolist()


def test_covariances_are_transformed_by_the_linear_part():
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(5, 4, 4))
    cov = roots @ roots.swapaxes(1, 2)
    linear = np.kron(np.eye(2), [[0.9, -0.3], [0.2, 1.1]])
    _, carried = kalman.warp(np.zeros((5, 4)), cov, (0.9, -0.3, 7.0, 0.2, 1.1, -2.0))
    assert carried == pytest.approx(linear @ cov @ linear.T)


def test_twice_nll_by_hand():
    cov = np.diag([3.0, 8.0, 1.0, 1.0])[None].repeat(2, axis=0)
    residual, spread = kalman.innovation(np.zeros((2, 4)), cov, np.array([[2.0, 0.0], [2.0, 3.0]]), 1.0)
    assert spread[0].tolist() == [[4.0, 0.0], [0.0, 9.0]]
    assert kalman.twice_nll(residual, spread) == pytest.approx(np.array([1.0, 2.0]) + np.log(36))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 6), seed=st.integers(0, 100))
def test_twice_nll_matches_the_general_inverse(n, seed):
    mean, cov = random_states(n, seed)
    residual, spread = kalman.innovation(mean, cov, mean[:, :2] + mean[::-1, :2], 0.7)
    squared = np.einsum("ni,nij,nj->n", residual, np.linalg.inv(spread), residual)
    np.testing.assert_allclose(kalman.twice_nll(residual, spread), squared + np.log(np.linalg.det(spread)), rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 6), seed=st.integers(0, 100), dt=st.floats(1e-3, 2), sigma=st.floats(0.1, 200))
def test_a_step_matches_the_textbook_filter_of_a_single_target(n, seed, dt, sigma):
    mean, cov = random_states(n, seed)
    z = np.random.default_rng(seed + 1).normal(0, 50, (n, 2))
    got_mean, got_cov = kalman.update(*kalman.predict(mean, cov, dt, sigma), z, 1.3)
    f = np.eye(4)
    f[0, 2] = f[1, 3] = dt
    g = sigma**2
    q = np.array([
        [g * dt**3 / 3, 0, g * dt**2 / 2, 0],
        [0, g * dt**3 / 3, 0, g * dt**2 / 2],
        [g * dt**2 / 2, 0, g * dt, 0],
        [0, g * dt**2 / 2, 0, g * dt],
    ])  # fmt: skip
    h, r = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0]]), 1.69 * np.eye(2)
    for i in range(n):
        m, p = f @ mean[i], f @ cov[i] @ f.T + q
        s = h @ p @ h.T + r
        k = p @ h.T @ np.linalg.inv(s)
        np.testing.assert_allclose(got_mean[i], m + k @ (z[i] - h @ m), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(got_cov[i], (np.eye(4) - k @ h) @ p, rtol=1e-5, atol=1e-5 * np.abs(p).max())


@settings(max_examples=30, deadline=None)
@given(first=st.floats(0, 1), second=st.floats(0, 1), sigma=st.floats(0.1, 200))
def test_two_steps_equal_one_step_of_their_total_duration(first, second, sigma):
    state = random_states(3)
    twice = kalman.predict(*kalman.predict(*state, first, sigma), second, sigma)
    once = kalman.predict(*state, first + second, sigma)
    np.testing.assert_allclose(twice[0], once[0], rtol=1e-9)
    np.testing.assert_allclose(twice[1], once[1], rtol=1e-9, atol=1e-9)


def test_covariance_stays_symmetric_and_positive_over_a_long_run():
    mean, cov = kalman.initiate(np.zeros((1, 2)), 1e-3, 1e4)
    for _ in range(2000):
        mean, cov = kalman.update(*kalman.predict(mean, cov, 1 / 30, 1e-3), np.zeros((1, 2)), 1e-3)
    assert np.abs(cov - cov.swapaxes(1, 2)).max() < 1e-12
    assert np.linalg.eigvalsh(cov).min() > 0
