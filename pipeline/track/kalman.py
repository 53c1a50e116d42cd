"""Constant-velocity Kalman filter for many targets at once: pure functions on stacked arrays.

A state is [x, y, vx, vy] in px and px/s; n states are ``mean`` (n, 4) and ``cov`` (n, 4, 4), float64.
Only the position is measured. Notation and equations: Bar-Shalom, Li, Kirubarajan, "Estimation with
Applications to Tracking and Navigation" (2001), sections 5.2 (filter), 6.2 (motion model).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import Affine

Array = NDArray[np.float64]

_I2 = np.eye(2)
_X, _VX = [0, 1], [2, 3]  # indices of positions and velocities


def initiate(position: Array, position_sigma: float, speed_sigma: float) -> tuple[Array, Array]:
    """Return states of targets detected once, with zero mean velocity and an isotropic velocity variance.

    Args:
        position: (n, 2) detected positions in px.
        position_sigma: rms position error along each axis in px.
        speed_sigma: rms speed along each axis in px/s.

    Returns:
        mean (n, 4) and cov (n, 4, 4).
    """
    mean = np.concatenate([position, np.zeros_like(position)], axis=1)
    variance = np.square([position_sigma, position_sigma, speed_sigma, speed_sigma])
    return mean, np.tile(np.diag(variance), (len(position), 1, 1))


def predict(mean: Array, cov: Array, dt: float, accel_sigma: float) -> tuple[Array, Array]:
    """Predict states by ``dt`` seconds under continuous white-noise acceleration (6.2.2).

    Two steps equal one step of their total duration, so dropped frames change nothing.

    Args:
        mean: (n, 4) means.
        cov: (n, 4, 4) covariances.
        dt: time step in seconds, >= 0.
        accel_sigma: rms change of velocity along each axis within one second in px/s, which is the square root of
            the power spectral density of the acceleration.
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
    """Transform states from the previous frame's coordinates into this frame's.

    Positions are mapped by the whole affine transform, velocities and covariances by its linear part, as in BoT-SORT
    (Aharon et al. 2022, equation 5).

    Args:
        mean: (n, 4) means.
        cov: (n, 4, 4) covariances.
        matrix: (a, b, tx, c, d, ty) with x' = a x + b y + tx, y' = c x + d y + ty.
    """
    a, b, tx, c, d, ty = matrix
    linear = np.zeros((4, 4))
    linear[:2, :2] = linear[2:, 2:] = [[a, b], [c, d]]
    return mean @ linear.T + (tx, ty, 0.0, 0.0), _carried(cov, linear)


def innovation(mean: Array, cov: Array, measured: Array, measurement_sigma: float | Array) -> tuple[Array, Array]:
    """Return the innovation of each state with its own measurement, and its covariance.

    Args:
        mean: (n, 4) means.
        cov: (n, 4, 4) covariances.
        measured: (n, 2) measured positions in px; row i belongs to state i.
        measurement_sigma: rms measurement error along each axis in px, one value or (n,).

    Returns:
        innovations (n, 2) in px and their covariances S (n, 2, 2) in px^2.
    """
    return measured - mean[:, :2], cov[:, :2, :2] + _noise(measurement_sigma)


def twice_nll(residual: Array, spread: Array) -> Array:
    """Return d^2 + ln det S (n,), twice the negative log-likelihood less 2 ln(2 pi).

    Here d is the Mahalanobis length of the innovations ``residual`` (n, 2) with covariances S = ``spread`` (n, 2, 2).
    """
    # Written out because the general matrix inverse takes many times as long as these few products.
    x, y = residual[:, 0], residual[:, 1]
    xx, xy, yy = spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]
    determinant = xx * yy - xy * xy
    squared = (yy * x * x - 2 * xy * x * y + xx * y * y) / determinant
    likelihood: Array = squared + np.log(determinant)
    return likelihood


def update(mean: Array, cov: Array, measured: Array, measurement_sigma: float | Array) -> tuple[Array, Array]:
    """Update each state with its own measurement.

    The covariance is computed in Joseph form (5.2.3-18), so that it stays positive definite.

    Args:
        mean: (n, 4) means.
        cov: (n, 4, 4) covariances.
        measured: (n, 2) measured positions in px; row i belongs to state i.
        measurement_sigma: rms measurement error along each axis in px, one value or (n,).
    """
    gain = _times(cov[:, :, :2], _inverse(cov[:, :2, :2] + _noise(measurement_sigma)))
    mean = mean + _times(gain, (measured - mean[:, :2])[:, :, None])[:, :, 0]
    turned = gain.swapaxes(1, 2)
    kept = cov - _times(gain, cov[:, :2])
    kept = kept - _times(kept[:, :, :2], turned)
    return mean, kept + _times(gain, turned) * np.square(np.atleast_1d(measurement_sigma))[:, None, None]


def _carried(cov: Array, linear: Array) -> Array:
    """Return ``linear @ cov @ linear.T`` for covariances (n, 4, 4), as one matrix product instead of n small ones."""
    both = np.multiply.outer(linear, linear).swapaxes(1, 2).reshape(16, 16)  # Kronecker product
    return np.asarray((cov.reshape(-1, 16) @ both.T).reshape(-1, 4, 4))


def _times(left: Array, right: Array) -> Array:
    """Return the products (n, k, m) of matrices (n, k, 2) and (n, 2, m), written out as in ``twice_nll``."""
    return np.asarray(left[:, :, :1] * right[:, :1] + left[:, :, 1:] * right[:, 1:])


def _inverse(spread: Array) -> Array:
    """Return the inverses of symmetric positive definite matrices (n, 2, 2), written out as in ``twice_nll``."""
    xx, xy, yy = spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]
    inverse = np.stack([yy, -xy, -xy, xx], axis=1) / (xx * yy - xy * xy)[:, None]
    return np.asarray(inverse.reshape(-1, 2, 2))


def _noise(sigma: float | Array) -> Array:
    """Return measurement covariances: (n, 2, 2), or (1, 2, 2) for a single sigma."""
    return np.asarray(np.multiply.outer(np.square(np.atleast_1d(sigma)), _I2))
