"""What is believed of many targets at once: where each is if it cruises, where if it manoeuvres, and which is likelier.

An interacting multiple model filter (Blom and Bar-Shalom, IEEE Trans. Automatic Control 33(8), 1988; Bar-Shalom, Li,
Kirubarajan 2001, section 11.6.6). One filter quick enough for a bird that turns forgets within a few frames how a
target flew before another hid it; one slow enough to know it loses the bird. Pure functions on stacked arrays; both
models are Kalman filters of constant velocity (``kalman``) that differ in the acceleration they expect.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import Affine
from pipeline.track import kalman
from pipeline.track.kalman import Array

CRUISE, MANOEUVRE = 0, 1
LASTS_S = np.array([5.0, 0.5])
"""How long a target cruises, and how long it manoeuvres, on average, s."""


class Belief(NamedTuple):
    """States of n targets under each of the two models, cruise and manoeuvre.

    Attributes:
        mean: (n, 2, 4).
        cov: (n, 2, 4, 4).
        weight: (n, 2) probability of each model, rows sum to 1.
    """

    mean: Array
    cov: Array
    weight: Array

    def only(self, kept: NDArray[np.bool_] | NDArray[np.intp]) -> Belief:
        """Some of the targets."""
        return Belief(self.mean[kept], self.cov[kept], self.weight[kept])

    def and_also(self, other: Belief) -> Belief:
        """These targets, then the other ones."""
        return Belief(*(np.concatenate(both) for both in zip(self, other, strict=True)))

    def centre(self) -> Array:
        """Mean (n, 4) whichever model holds (11.6.6-14)."""
        cruise, manoeuvre = self.mean[:, CRUISE], self.mean[:, MANOEUVRE]
        return np.asarray(cruise + self.weight[:, MANOEUVRE, None] * (manoeuvre - cruise))

    def moments(self) -> tuple[Array, Array]:
        """The same, and its covariance (n, 4, 4) (11.6.6-15)."""
        return _mixed(self.mean, self.cov, self.weight[:, MANOEUVRE])


NOBODY = Belief(np.empty((0, 2, 4)), np.empty((0, 2, 4, 4)), np.empty((0, 2)))


def initiate(position: Array, position_sigma: float, speed_sigma: float) -> Belief:
    """Targets seen once, see ``kalman.initiate``; each model as likely as it is in the long run."""
    mean, cov = kalman.initiate(position, position_sigma, speed_sigma)
    weight = np.tile(LASTS_S / LASTS_S.sum(), (len(position), 1))
    return Belief(mean[:, None].repeat(2, axis=1), cov[:, None].repeat(2, axis=1), weight)


def warp(belief: Belief, matrix: Affine) -> Belief:
    """Carry states into this frame's coordinates, see ``kalman.warp``."""
    mean, cov = kalman.warp(belief.mean.reshape(-1, 4), belief.cov.reshape(-1, 4, 4), matrix)
    return Belief(mean.reshape(belief.mean.shape), cov.reshape(belief.cov.shape), belief.weight)


def predict(belief: Belief, dt: float, accel_sigmas: tuple[float, float], shift_sigma: float = 0.0) -> Belief:
    """Mix the models (11.6.6-6 to 10), then move each by ``dt`` seconds.

    Args:
        belief: n targets.
        dt: seconds, >= 0.
        accel_sigmas: of cruise and manoeuvre, see ``kalman.predict``.
        shift_sigma: rms error along each axis by which all positions have been shifted since, px.
    """
    mean, cov, weight = belief
    joint = weight[:, :, None] * _changes(dt)
    weight = joint.sum(axis=1)
    manoeuvred = joint[:, MANOEUVRE] / weight  # of what goes into each model
    mixed, cov = _mixed(mean[:, None], cov[:, None], manoeuvred)
    moved = [kalman.predict(mixed[:, j], cov[:, j], dt, sigma) for j, sigma in enumerate(accel_sigmas)]
    mean, cov = (np.stack(part, axis=1) for part in zip(*moved, strict=True))
    cov[..., [0, 1], [0, 1]] += shift_sigma**2
    return Belief(mean, cov, weight)


def misfit(belief: Belief, measured: Array, measurement_sigma: float) -> Array:
    """Twice the negative log likelihood (n,) of measurements (n, 2) of one target each, up to 2 ln 2 pi."""
    cost = _misfits(belief, measured, measurement_sigma)
    least = np.minimum(*cost.T)
    cruise, manoeuvre = (belief.weight * np.exp(-0.5 * (cost - least[:, None]))).T
    return np.asarray(least - 2 * np.log(cruise + manoeuvre))


def reach(belief: Belief, measurement_sigma: float, gate: float) -> Array:
    """Distance (n,) from each target's mean, px, beyond which the misfit of a measurement is ``gate`` or more.

    Under one model it is at least d^2 / l + ln det S at distance d from that model's mean, l being the larger
    eigenvalue of S; under both together at least the smaller of the two.
    """
    spread = belief.cov[..., :2, :2] + measurement_sigma**2 * np.eye(2)
    xx, xy, yy = spread[..., 0, 0], spread[..., 0, 1], spread[..., 1, 1]
    largest = (xx + yy) / 2 + np.hypot((xx - yy) / 2, xy)
    room = np.maximum(gate - np.log(xx * yy - xy * xy), 0.0)
    apart = belief.mean[..., :2] - belief.centre()[:, None, :2]
    return np.asarray(np.maximum(*(np.sqrt(largest * room) + np.hypot(apart[..., 0], apart[..., 1])).T))


def update(belief: Belief, measured: Array, measurement_sigma: float | Array) -> Belief:
    """Correct each target's states by its own measurement (n, 2), and weigh the models by it (11.6.6-13)."""
    cost = _misfits(belief, measured, measurement_sigma)
    weight = belief.weight * np.exp(-0.5 * (cost - np.minimum(*cost.T)[:, None]))
    weight /= (weight[:, CRUISE] + weight[:, MANOEUVRE])[:, None]
    twice, sigma = measured.repeat(2, axis=0), np.broadcast_to(measurement_sigma, len(measured)).repeat(2)
    mean, cov = kalman.update(belief.mean.reshape(-1, 4), belief.cov.reshape(-1, 4, 4), twice, sigma)
    return Belief(mean.reshape(belief.mean.shape), cov.reshape(belief.cov.shape), weight)


def _changes(dt: float) -> Array:
    """Probability of each model after ``dt`` seconds, by the model before: a Markov chain in continuous time."""
    rates = 1 / LASTS_S
    leave = rates / rates.sum() * (1 - np.exp(-rates.sum() * dt))
    return np.array([[1 - leave[0], leave[0]], [leave[1], 1 - leave[1]]])


def _mixed(mean: Array, cov: Array, share: Array) -> tuple[Array, Array]:
    """Mean (..., 4) and covariance (..., 4, 4) of two states mixed, of which the second has ``share`` (...).

    From the one towards the other: where both say the same, so does the mean, to the last bit. What both are apart adds
    the variance of a coin, share (1 - share), in that direction.

    Args:
        mean: (..., 2, 4).
        cov: (..., 2, 4, 4).
        share: of a shape that goes with theirs.
    """
    apart, second = mean[..., 1, :] - mean[..., 0, :], share[..., None, None]
    between = cov[..., 0, :, :] + second * (cov[..., 1, :, :] - cov[..., 0, :, :])
    spread = second * (1 - second) * (apart[..., :, None] * apart[..., None, :])
    return mean[..., 0, :] + share[..., None] * apart, between + spread


def _misfits(belief: Belief, measured: Array, measurement_sigma: float | Array) -> Array:
    """Under each model, (n, 2)."""
    mean, cov, twice = belief.mean.reshape(-1, 4), belief.cov.reshape(-1, 4, 4), measured.repeat(2, axis=0)
    sigma = np.broadcast_to(measurement_sigma, len(measured)).repeat(2)
    return kalman.misfit(*kalman.innovation(mean, cov, twice, sigma)).reshape(-1, 2)
