"""Points that can be followed from one picture to the next, and where they went."""

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
"""Features are spread over a grid of this many cells per side, so that no bright spot owns them all."""
_PER_CELL = 3
_MIN_RESPONSE = 1e-6
_WINDOW = (15, 15)
_LEVELS = 3


def stretch(previous: Picture, current: Picture) -> tuple[Picture, Picture]:
    """Both pictures as uint8 under one affine map, from the 1 % and 99 % quantiles of the first.

    The flow needs 8 bits and equal brightness; nothing else ever sees these pictures.
    """
    rows, columns = (max(1, side // 128) for side in previous.shape)
    low, high = np.percentile(previous[::rows, ::columns], [1, 99])
    gain = 255.0 / max(high - low, 1.0)

    def apply(picture: Picture) -> Picture:
        clipped = np.clip(picture, low, high).astype(np.float32)
        return cv2.convertScaleAbs(clipped, alpha=gain, beta=-low * gain)

    return apply(previous), apply(current)


def corners(picture: Picture) -> Points:
    """Corners (n, 2) in px, the best few of every cell of a grid.

    Shi and Tomasi's measure (CVPR 1994), ranked within each cell: ranked over the whole picture, burnt-in
    text or one bright building would take all places.

    Args:
        picture: (h, w) uint8.
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
    """Points (n, 2) that Lucas-Kanade follows forth and back to within half a pixel, and where they went."""
    if not len(points):
        return points, points
    there, found = _follow(previous, current, points)
    back, found_back = _follow(current, previous, there)
    closed = np.linalg.norm(back - points, axis=1) < 0.5
    good = closed & found & found_back
    return points[good], there[good]


def _follow(previous: Picture, current: Picture, points: Points) -> tuple[Points, Flags]:
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        previous, current, points, np.empty_like(points), winSize=_WINDOW, maxLevel=_LEVELS
    )
    return np.asarray(there, np.float32), found.astype(bool).ravel()


def cell_of(x: NDArray[Any], y: NDArray[Any], shape: Shape) -> NDArray[np.int64]:
    """Number of the grid cell of every point."""
    row, column = (np.asarray(v, np.int64) * CELLS // side for v, side in ((y, shape[0]), (x, shape[1])))
    return np.asarray(row * CELLS + column)
