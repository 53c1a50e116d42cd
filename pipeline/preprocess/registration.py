"""Register a past frame to the current one more accurately than sparse optical flow.

Errors of 1/20 px per frame add up to half a pixel within a second, and the residual of an edge of a cloud displaced by
half a pixel is stronger than any dim target. One Gauss-Newton step over the whole frame keeps the accumulated transform
accurate (Baker and Matthews 2004, section 3).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Matrix = NDArray[np.float64]

SAMPLES = 6_000
"""Maximum number of pixels compared, on a regular grid. Twice as many do not improve detection, and make matrices so
large that BLAS starts threads, which then keep spinning on the network's cores."""
REACH_PX = 2.0
"""Largest accepted correction in px. The linear model of the picture is not valid beyond it."""
_SMOOTH = 1.2  # px
_ROUNDS = 2  # of iteratively reweighted least squares
_REGION = 11  # samples, side of the window of the local residual


def smooth(frame: Image) -> Image:
    """Smooth a frame (H, W) so that it is approximately linear between neighbouring pixels."""
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), _SMOOTH), np.float32)


class Reference:
    """The current frame, prepared once for the registration of any number of past frames to it.

    Args:
        frame: (H, W) float32, smoothed by ``smooth``.
    """

    def __init__(self, frame: Image) -> None:
        height, width = frame.shape
        step = max(1, int(np.ceil(np.sqrt(frame.size / SAMPLES))))
        rows, columns = slice(2, height - 2, step), slice(2, width - 2, step)
        y, x = np.mgrid[rows, columns].astype(np.float32)
        self._x, self._y = x, y
        self._value = frame[rows, columns]
        gx = (frame[rows, 3 : width - 1 : step] - frame[rows, 1 : width - 3 : step]) / 2
        gy = (frame[3 : height - 1 : step, columns] - frame[1 : height - 3 : step, columns]) / 2
        # Rotation and zoom are about the centre and in units of the width, so that all unknowns have a similar scale.
        self._centre, self._unit = np.array([(width - 1) / 2, (height - 1) / 2]), float(width)
        u, v = (x - self._centre[0]) / self._unit, (y - self._centre[1]) / self._unit
        self._steepest_descent = np.stack([gx, gy, gx * u + gy * v, gy * u - gx * v], axis=-1)

    def register(self, past: Image, to_now: Matrix) -> tuple[Matrix, float, float]:
        """Refine the transform of a past frame, and estimate its gain and offset, by one Gauss-Newton step.

        Args:
            past: (H, W) float32, smoothed by ``smooth``.
            to_now: (3, 3) transform from pixels of the past frame to pixels of the current frame.

        Returns:
            The transform corrected by a similarity, and the gain and offset that map the past frame to the brightness
            of the current one. They are ``to_now``, 1 and 0 if less than a quarter of the samples overlaps, if the
            correction exceeds ``REACH_PX``, or if the gain would differ from 1 by more than 0.5.
        """
        back = np.linalg.inv(to_now).astype(np.float32)
        x = back[0, 0] * self._x + back[0, 1] * self._y + back[0, 2]
        y = back[1, 0] * self._x + back[1, 1] * self._y + back[1, 2]
        sampled = cv2.remap(past, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan)
        seen = np.isfinite(sampled)
        if seen.sum() < seen.size / 4:
            return to_now, 1.0, 0.0
        then, now = sampled[seen].astype(np.float64), self._value[seen].astype(np.float64)
        mean = then.mean()
        change = now - then
        model = np.column_stack([-self._steepest_descent[seen], np.ones(len(then)), then - mean])
        residuals = change - np.median(change)
        solution = np.zeros(6)
        for _ in range(_ROUNDS):
            weighted = (model * _sample_weights(residuals, seen)[:, None]).T
            normal = weighted @ model
            ridge = 1e-9 * np.diag(np.diag(normal)) + 1e-9 * np.eye(6)
            solution = np.linalg.solve(normal + ridge, weighted @ change)
            residuals = change - model @ solution
        dx, dy, zoom, rotation, offset, gain = solution
        zoom, rotation = zoom / self._unit, rotation / self._unit
        if not np.hypot(dx, dy) + self._unit / 2 * np.hypot(zoom, rotation) <= REACH_PX or abs(gain) > 0.5:
            return to_now, 1.0, 0.0
        linear = np.array([[1 + zoom, -rotation], [rotation, 1 + zoom]])
        move = np.eye(3)
        move[:2, :2] = linear
        move[:2, 2] = self._centre - linear @ self._centre + (dx, dy)
        return move @ to_now, float(1 + gain), float(offset - gain * mean)


def _sample_weights(residuals: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return weights (n,) of samples from their residuals: lower where the scene is not rigid (water) and for targets.

    Args:
        residuals: (n,) residuals.
        seen: Grid of samples, of which n are True.
    """
    square = np.zeros(seen.shape)
    square[seen] = np.square(residuals)
    window = (_REGION, _REGION)
    local = cv2.blur(square, window) / np.maximum(cv2.blur(seen.astype(np.float64), window), 1e-9)
    sigma = np.sqrt(np.maximum(local[seen], 0)) + 1e-3  # running sums of the filter may be slightly negative
    return np.asarray(1 / (sigma**2 * np.maximum(1.0, np.abs(residuals) / (2 * sigma))))
