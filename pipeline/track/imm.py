"""Interacting multiple model (IMM) filter with a cruise and a manoeuvre model, for many targets at once.

See Blom and Bar-Shalom, IEEE Trans. Automatic Control 33(8), 1988, and Bar-Shalom, Li, Kirubarajan 2001, section 11.6.6
(equation numbers below). A single filter with enough process noise to follow a turning bird forgets within a few frames
how a target flew before it was occluded; one with little process noise loses the bird. Both models are
constant-velocity Kalman filters (``kalman``) that differ in process noise. All functions are pure and work on stacked
arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import Affine
from pipeline.track import kalman
from pipeline.track.kalman import Array

CRUISE, MANOEUVRE = 0, 1
SOJOURN_S = np.array([5.0, 0.5])
"""Mean sojourn time in s of the cruise and of the manoeuvre model."""


class IMMState(NamedTuple):
    """State estimates of n targets under the cruise and the manoeuvre model.

    Attributes:
        mean: (n, 2, 4) means, see ``kalman`` for the state.
        cov: (n, 2, 4, 4) covariances.
        weight: (n, 2) model probabilities; each row sums to 1.
    """

    mean: Array
    cov: Array
    weight: Array

    def select(self, kept: NDArray[np.bool_] | NDArray[np.intp]) -> IMMState:
        """Return the selected targets."""
        return IMMState(self.mean[kept], self.cov[kept], self.weight[kept])

    def concat(self, other: IMMState) -> IMMState:
        """Return these targets followed by those of ``other``."""
        return IMMState(*(np.concatenate(both) for both in zip(self, other, strict=True)))

    def centre(self) -> Array:
        """Return the combined mean (n, 4) over both models (11.6.6-14)."""
        cruise, manoeuvre = self.mean[:, CRUISE], self.mean[:, MANOEUVRE]
        return np.asarray(cruise + self.weight[:, MANOEUVRE, None] * (manoeuvre - cruise))

    def moments(self) -> tuple[Array, Array]:
        """Return the combined mean (n, 4) and covariance (n, 4, 4) (11.6.6-15)."""
        return _mixed(self.mean, self.cov, self.weight[:, MANOEUVRE])


NO_TRACK = IMMState(np.empty((0, 2, 4)), np.empty((0, 2, 4, 4)), np.empty((0, 2)))


def initiate(position: Array, position_sigma: float, speed_sigma: float) -> IMMState:
    """Initialise targets from one detection each (``kalman.initiate``), with stationary model probabilities."""
    mean, cov = kalman.initiate(position, position_sigma, speed_sigma)
    weight = np.tile(SOJOURN_S / SOJOURN_S.sum(), (len(position), 1))
    return IMMState(mean[:, None].repeat(2, axis=1), cov[:, None].repeat(2, axis=1), weight)


def warp(imm: IMMState, matrix: Affine) -> IMMState:
    """Transform states into this frame's coordinates, see ``kalman.warp``."""
    mean, cov = kalman.warp(imm.mean.reshape(-1, 4), imm.cov.reshape(-1, 4, 4), matrix)
    return IMMState(mean.reshape(imm.mean.shape), cov.reshape(imm.cov.shape), imm.weight)


def predict(imm: IMMState, dt: float, accel_sigmas: tuple[float, float], shift_sigma: float = 0.0) -> IMMState:
    """Mix the models (11.6.6-6 to 10), then predict each by ``dt`` seconds.

    Args:
        imm: states of n targets.
        dt: time step in seconds, >= 0.
        accel_sigmas: process noise of the cruise and the manoeuvre model, see ``kalman.predict``.
        shift_sigma: rms error in px along each axis of the ego-motion; its variance is added to all positions.
    """
    mean, cov, weight = imm
    joint = weight[:, :, None] * _transition_matrix(dt)
    weight = joint.sum(axis=1)
    manoeuvred = joint[:, MANOEUVRE] / weight  # mixing probability of the manoeuvre model, by the model mixed into
    mixed, cov = _mixed(mean[:, None], cov[:, None], manoeuvred)
    moved = [kalman.predict(mixed[:, j], cov[:, j], dt, sigma) for j, sigma in enumerate(accel_sigmas)]
    mean, cov = (np.stack(part, axis=1) for part in zip(*moved, strict=True))
    cov[..., [0, 1], [0, 1]] += shift_sigma**2
    return IMMState(mean, cov, weight)


def twice_nll(imm: IMMState, measured: Array, measurement_sigma: float) -> Array:
    """Return twice the negative log-likelihood (n,) of one measurement per target (n, 2), less 2 ln(2 pi)."""
    cost = _twice_nll_per_model(imm, measured, measurement_sigma)
    least = np.minimum(*cost.T)
    cruise, manoeuvre = (imm.weight * np.exp(-0.5 * (cost - least[:, None]))).T
    return np.asarray(least - 2 * np.log(cruise + manoeuvre))


def reach(imm: IMMState, measurement_sigma: float, gate: float) -> Array:
    """Return the distance (n,) in px from each target's mean beyond which ``twice_nll`` is at least ``gate``.

    At distance d from the mean of one model its value is at least d^2 / l + ln det S, where l is the larger eigenvalue
    of S. For both models together it is at least the smaller of the two bounds.
    """
    spread = imm.cov[..., :2, :2] + measurement_sigma**2 * np.eye(2)
    xx, xy, yy = spread[..., 0, 0], spread[..., 0, 1], spread[..., 1, 1]
    largest = (xx + yy) / 2 + np.hypot((xx - yy) / 2, xy)
    room = np.maximum(gate - np.log(xx * yy - xy * xy), 0.0)
    apart = imm.mean[..., :2] - imm.centre()[:, None, :2]
    return np.asarray(np.maximum(*(np.sqrt(largest * room) + np.hypot(apart[..., 0], apart[..., 1])).T))


def update(imm: IMMState, measured: Array, measurement_sigma: float | Array) -> IMMState:
    """Update each target with its own measurement (n, 2), including the model probabilities (11.6.6-13)."""
    cost = _twice_nll_per_model(imm, measured, measurement_sigma)
    weight = imm.weight * np.exp(-0.5 * (cost - np.minimum(*cost.T)[:, None]))
    weight /= (weight[:, CRUISE] + weight[:, MANOEUVRE])[:, None]
    twice, sigma = measured.repeat(2, axis=0), np.broadcast_to(measurement_sigma, len(measured)).repeat(2)
    mean, cov = kalman.update(imm.mean.reshape(-1, 4), imm.cov.reshape(-1, 4, 4), twice, sigma)
    return IMMState(mean.reshape(imm.mean.shape), cov.reshape(imm.cov.shape), weight)


def _transition_matrix(dt: float) -> Array:
    """Return the model transition probabilities (from, to) over ``dt`` seconds of a continuous-time Markov chain."""
    rates = 1 / SOJOURN_S
    leave = rates / rates.sum() * (1 - np.exp(-rates.sum() * dt))
    return np.array([[1 - leave[0], leave[0]], [leave[1], 1 - leave[1]]])


def _mixed(mean: Array, cov: Array, share: Array) -> tuple[Array, Array]:
    """Return the mean (..., 4) and covariance (..., 4, 4) of a mixture of two Gaussians.

    The result is interpolated from the first component towards the second, so equal means give exactly that mean, to
    the last bit. The difference of the means adds a spread of variance share (1 - share) in its direction.

    Args:
        mean: (..., 2, 4) means of both components.
        cov: (..., 2, 4, 4) covariances of both components.
        share: (...) probability of the second component, broadcast against the others.
    """
    apart, second = mean[..., 1, :] - mean[..., 0, :], share[..., None, None]
    between = cov[..., 0, :, :] + second * (cov[..., 1, :, :] - cov[..., 0, :, :])
    spread = second * (1 - second) * (apart[..., :, None] * apart[..., None, :])
    return mean[..., 0, :] + share[..., None] * apart, between + spread


def _twice_nll_per_model(imm: IMMState, measured: Array, measurement_sigma: float | Array) -> Array:
    """Return ``twice_nll`` under each model separately, (n, 2)."""
    mean, cov, twice = imm.mean.reshape(-1, 4), imm.cov.reshape(-1, 4, 4), measured.repeat(2, axis=0)
    sigma = np.broadcast_to(measurement_sigma, len(measured)).repeat(2)
    return kalman.twice_nll(*kalman.innovation(mean, cov, twice, sigma)).reshape(-1, 2)
