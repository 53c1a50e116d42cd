"""Corner detection and sparse optical flow between two pictures."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[Any]
Points = NDArray[np.float32]
Flags = NDArray[np.bool_]
Shape = tuple[int, ...]

CELLS = 8
"""Number of grid cells per side. Features are selected per cell, so that no bright spot takes all of them."""
_PER_CELL = 3
_MIN_RESPONSE = 1e-6
_WINDOW = (15, 15)
_LEVELS = 3


def stretch(previous: Picture, current: Picture) -> tuple[Picture, Picture]:
    """Convert both pictures to uint8 by one affine map, given by the 1 % and 99 % percentiles of the first.

    Optical flow needs 8-bit pictures of equal brightness. The result is used for motion estimation only.
    """
    rows, columns = (max(1, side // 128) for side in previous.shape)
    low, high = np.percentile(previous[::rows, ::columns], [1, 99])
    gain = 255.0 / max(high - low, 1.0)

    def apply(picture: Picture) -> Picture:
        clipped = np.clip(picture, low, high).astype(np.float32)
        return cv2.convertScaleAbs(clipped, alpha=gain, beta=-low * gain)

    return apply(previous), apply(current)


def corners(picture: Picture) -> Points:
    """Detect corners, the best few of every grid cell.

    The response is the minimum eigenvalue of Shi and Tomasi (CVPR 1994), ranked within each cell. Ranked over the whole
    picture, burnt-in text or one bright building would take all corners.

    Args:
        picture: (h, w) uint8.

    Returns:
        (n, 2) float32 positions (x, y) in px.
    """
    response = cv2.cornerMinEigenVal(picture, 5)
    highest = (response >= cv2.dilate(response, np.ones((7, 7), np.uint8))) & (response > _MIN_RESPONSE)
    y, x = np.divmod(np.flatnonzero(highest), response.shape[1])
    cell = cell_of(x, y, picture.shape)
    order = np.lexsort([-response[y, x], cell])
    cell = cell[order]
    rank = np.arange(len(cell)) - np.searchsorted(cell, cell)
    best = order[rank < _PER_CELL]
    return np.stack([x[best], y[best]], axis=1).astype(np.float32)


def flow(previous: Picture, current: Picture, points: Points) -> tuple[Points, Points]:
    """Track points (n, 2) by pyramidal Lucas-Kanade.

    Returns:
        The points whose forward-backward error is below half a pixel, and their positions in the current picture.
    """
    if not len(points):
        return points, points
    forward, tracked = _track(previous, current, points)
    backward, tracked_back = _track(current, previous, forward)
    consistent = np.linalg.norm(backward - points, axis=1) < 0.5
    good = consistent & tracked & tracked_back
    return points[good], forward[good]


def _track(previous: Picture, current: Picture, points: Points) -> tuple[Points, Flags]:
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        previous, current, points, np.empty_like(points), winSize=_WINDOW, maxLevel=_LEVELS
    )
    return np.asarray(moved, np.float32), status.astype(bool).ravel()


def cell_of(x: NDArray[Any], y: NDArray[Any], shape: Shape) -> NDArray[np.int64]:
    """Return the row-major index of the grid cell of every point."""
    row, column = (np.asarray(v, np.int64) * CELLS // side for v, side in ((y, shape[0]), (x, shape[1])))
    return np.asarray(row * CELLS + column)
