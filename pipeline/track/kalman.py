"""Constant-velocity Kalman filter over many targets at once: pure functions on stacked arrays.

A state is [x, y, vx, vy] in px and px/s; n states are ``mean`` (n, 4) and ``cov`` (n, 4, 4), float64.
Measured is the position alone. Notation and equations: Bar-Shalom, Li, Kirubarajan, "Estimation with
Applications to Tracking and Navigation" (2001), sections 5.2 (filter), 6.2 (motion model).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import Affine

Array = NDArray[np.float64]

_I2 = np.eye(2)
_X, _VX = [0, 1], [2, 3]  # places and velocities along both axes


def initiate(position: Array, position_sigma: float, speed_sigma: float) -> tuple[Array, Array]:
    """States of targets seen once: at rest on average, with an isotropic spread of speed.

    Args:
        position: (n, 2) px.
        position_sigma: rms error of a position along each axis, px.
        speed_sigma: rms speed along each axis, px/s.

    Returns:
        mean (n, 4), cov (n, 4, 4).
    """
    mean = np.concatenate([position, np.zeros_like(position)], axis=1)
    variance = np.square([position_sigma, position_sigma, speed_sigma, speed_sigma])
    return mean, np.tile(np.diag(variance), (len(position), 1, 1))


def predict(mean: Array, cov: Array, dt: float, accel_sigma: float) -> tuple[Array, Array]:
    """Move states by ``dt`` seconds under continuous white-noise acceleration (6.2.2).

    Two steps equal one step of their summed time, so dropped frames change nothing.

    Args:
        mean: (n, 4).
        cov: (n, 4, 4).
        dt: seconds, >= 0.
        accel_sigma: rms change of velocity along each axis within one second, px/s; the square root of
            the spectral density of the acceleration.
    """
    transition = np.eye(4)
    transition[_X, _VX] = dt
    moved = _carried(cov, transition)
    density = accel_sigma**2
    moved[:, _X, _X] += density * dt**3 / 3
    moved[:, _X, _VX] += density * dt**2 / 2
    moved[:, _VX, _X] += density * dt**2 / 2
    moved[:, _VX, _VX] += density * dt
    return mean @ transition.T, moved


def warp(mean: Array, cov: Array, matrix: Affine) -> tuple[Array, Array]:
    """Carry states from the previous frame's coordinates into this frame's.

    Positions take the whole affine map, velocities and covariances its linear part, as in BoT-SORT
    (Aharon et al. 2022, equation 5).

    Args:
        mean: (n, 4).
        cov: (n, 4, 4).
        matrix: (a, b, tx, c, d, ty), x' = a x + b y + tx, y' = c x + d y + ty.
    """
    a, b, tx, c, d, ty = matrix
    linear = np.zeros((4, 4))
    linear[:2, :2] = linear[2:, 2:] = [[a, b], [c, d]]
    return mean @ linear.T + (tx, ty, 0.0, 0.0), _carried(cov, linear)


def innovation(mean: Array, cov: Array, measured: Array, measurement_sigma: float | Array) -> tuple[Array, Array]:
    """Innovation of each state with its own measurement, and its covariance.

    Args:
        mean: (n, 4).
        cov: (n, 4, 4).
        measured: (n, 2) px, row i belongs to state i.
        measurement_sigma: rms error of a measurement along each axis, px; of all, or (n,).

    Returns:
        innovation (n, 2) in px and its covariance S (n, 2, 2) in px^2.
    """
    return measured - mean[:, :2], cov[:, :2, :2] + _noise(measurement_sigma)


def misfit(residual: Array, spread: Array) -> Array:
    """d^2 + ln det S (n,), d being the Mahalanobis length of innovations (n, 2) with covariances S (n, 2, 2)."""
    # Written out: the general inverse costs many times as much as these few products.
    x, y = residual[:, 0], residual[:, 1]
    xx, xy, yy = spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]
    determinant = xx * yy - xy * xy
    squared = (yy * x * x - 2 * xy * x * y + xx * y * y) / determinant
    likelihood: Array = squared + np.log(determinant)
    return likelihood


def update(mean: Array, cov: Array, measured: Array, measurement_sigma: float | Array) -> tuple[Array, Array]:
    """Correct each state by its own measurement; covariance in Joseph form (5.2.3-18), so it stays positive.

    Args:
        mean: (n, 4).
        cov: (n, 4, 4).
        measured: (n, 2) px, row i belongs to state i.
        measurement_sigma: rms error of a measurement along each axis, px; of all, or (n,).
    """
    gain = _times(cov[:, :, :2], _inverse(cov[:, :2, :2] + _noise(measurement_sigma)))
    mean = mean + _times(gain, (measured - mean[:, :2])[:, :, None])[:, :, 0]
    turned = gain.swapaxes(1, 2)
    kept = cov - _times(gain, cov[:, :2])
    kept = kept - _times(kept[:, :, :2], turned)
    return mean, kept + _times(gain, turned) * np.square(np.atleast_1d(measurement_sigma))[:, None, None]


def _carried(cov: Array, linear: Array) -> Array:
    """``linear @ cov @ linear.T`` of covariances (n, 4, 4) as one product of matrices, not of n pairs of small ones."""
    both = np.multiply.outer(linear, linear).swapaxes(1, 2).reshape(16, 16)  # their Kronecker product
    return np.asarray((cov.reshape(-1, 16) @ both.T).reshape(-1, 4, 4))


def _times(left: Array, right: Array) -> Array:
    """Products (n, k, m) of matrices (n, k, 2) and (n, 2, m), written out as in ``misfit``."""
    return np.asarray(left[:, :, :1] * right[:, :1] + left[:, :, 1:] * right[:, 1:])


def _inverse(spread: Array) -> Array:
    """Of positive symmetric matrices (n, 2, 2), written out as in ``misfit``."""
    xx, xy, yy = spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]
    inverse = np.stack([yy, -xy, -xy, xx], axis=1) / (xx * yy - xy * xy)[:, None]
    return np.asarray(inverse.reshape(-1, 2, 2))


def _noise(sigma: float | Array) -> Array:
    """Covariance of measurements, (n, 2, 2), or (1, 2, 2) for all."""
    return np.asarray(np.multiply.outer(np.square(np.atleast_1d(sigma)), _I2))
