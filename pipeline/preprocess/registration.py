"""Bring a past frame onto the present one more exactly than points followed by optical flow can.

Steps of a twentieth of a pixel add up to half a pixel in a second, and half a pixel at the edge of a cloud outshines
any dim target. One Gauss-Newton step over all pixels keeps the sum right (Baker and Matthews 2004, section 3).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Matrix = NDArray[np.float64]

SAMPLES = 6_000
"""As many pixels are compared, at most, on a regular grid. Twice as many hold no more targets, and make matrices for
which BLAS wakes threads, which then go on spinning on the network's cores."""
REACH_PX = 2.0
"""Farther than this a linear model of the picture does not reach; such a correction is not taken."""
_SMOOTH = 1.2
_ROUNDS = 2
_REGION = 11


def smooth(frame: Image) -> Image:
    """A picture (H, W) that a line fits from pixel to pixel."""
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), _SMOOTH), np.float32)


class Reference:
    """The present frame, prepared once for all the past ones that are brought onto it.

    Args:
        frame: (H, W), smoothed.
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
        # Turn and zoom are about the centre and in units of the width, so that all unknowns weigh alike.
        self._centre, self._unit = np.array([(width - 1) / 2, (height - 1) / 2]), float(width)
        u, v = (x - self._centre[0]) / self._unit, (y - self._centre[1]) / self._unit
        self._steepness = np.stack([gx, gy, gx * u + gy * v, gy * u - gx * v], axis=-1)

    def register(self, past: Image, to_now: Matrix) -> tuple[Matrix, float, float]:
        """Correct where a past frame lies, and how bright it is.

        Args:
            past: (H, W), smoothed.
            to_now: 3x3, from its pixels to those of the present frame.

        Returns:
            the matrix corrected by a similarity, and gain and offset that make the past frame as bright as this one.
            The matrix is as it was where the frames hardly overlap or more than ``REACH_PX`` would be needed.
        """
        back = np.linalg.inv(to_now).astype(np.float32)
        x = back[0, 0] * self._x + back[0, 1] * self._y + back[0, 2]
        y = back[1, 0] * self._x + back[1, 1] * self._y + back[1, 2]
        there = cv2.remap(past, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan)
        seen = np.isfinite(there)
        if seen.sum() < seen.size / 4:
            return to_now, 1.0, 0.0
        then, now = there[seen].astype(np.float64), self._value[seen].astype(np.float64)
        middle = then.mean()
        change = now - then
        model = np.column_stack([-self._steepness[seen], np.ones(len(then)), then - middle])
        left = change - np.median(change)
        found = np.zeros(6)
        for _ in range(_ROUNDS):
            weight = _trust(left, seen)
            normal = (model * weight[:, None]).T @ model
            ridge = 1e-9 * np.diag(np.diag(normal)) + 1e-9 * np.eye(6)
            found = np.linalg.solve(normal + ridge, (model * weight[:, None]).T @ change)
            left = change - model @ found
        dx, dy, zoom, turn, offset, gain = found
        zoom, turn = zoom / self._unit, turn / self._unit
        if not np.hypot(dx, dy) + self._unit / 2 * np.hypot(zoom, turn) <= REACH_PX or abs(gain) > 0.5:
            return to_now, 1.0, 0.0
        linear = np.array([[1 + zoom, -turn], [turn, 1 + zoom]])
        move = np.eye(3)
        move[:2, :2] = linear
        move[:2, 2] = self._centre - linear @ self._centre + (dx, dy)
        return move @ to_now, float(1 + gain), float(offset - gain * middle)


def _trust(left: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of samples by what is left of their change: less where the scene is not rigid (water), less for targets.

    Args:
        left: (n,) change that is not explained.
        seen: the grid of samples; n of them are true.
    """
    square = np.zeros(seen.shape)
    square[seen] = np.square(left)
    around = (_REGION, _REGION)
    local = cv2.blur(square, around) / np.maximum(cv2.blur(seen.astype(np.float64), around), 1e-9)
    sigma = np.sqrt(np.maximum(local[seen], 0)) + 1e-3  # running sums of the filter may end just below 0
    return np.asarray(1 / (sigma**2 * np.maximum(1.0, np.abs(left) / (2 * sigma))))
