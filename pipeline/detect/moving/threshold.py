"""Thresholds that let false peaks through at a wanted rate, whatever each part of the frame is like."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

CELL = 64
"""Side of the parts, px: water, sky and trees each get thresholds of their own."""
RANKS = (10, 40)
"""Targets in a cell are fewer than the first of these, and the peaks between them are none."""
_LEAST_PEAK = 0.5


def threshold_for(heights: NDArray[np.float32], rate: float) -> float:
    """The height that ``rate`` false peaks exceed.

    The highest of many peaks follow an exponential law above any high enough level, so its two parameters can be
    read off the peaks of lower rank, among which there are no targets (Pickands 1975; for Gaussian noise, whose
    tail is lighter, the threshold comes out too high).

    Args:
        heights: of all peaks, any order.
        rate: peaks, below ``RANKS[0]``.

    Returns:
        infinity if there are too few peaks to tell.
    """
    first, last = RANKS
    if len(heights) < last:
        return math.inf
    ordered = -np.partition(-heights, (first - 1, last - 1))
    upper, lower = float(ordered[first - 1]), float(ordered[last - 1])
    scale = (upper - lower) / math.log(last / first)
    return upper + scale * math.log(first / rate)


def thresholds(picture: NDArray[np.float32], rate: float) -> NDArray[np.float64]:
    """A threshold for each cell of a picture.

    Args:
        picture: (H, W). Its peaks are the largest of the 25 pixels around each.
        rate: peaks in the whole picture.

    Returns:
        (rows, columns) of cells of equal size, at most ``CELL`` px and a half of that.
    """
    height, width = picture.shape
    rows, columns = grid(picture.shape)
    highest = cv2.dilate(picture, np.ones((5, 5), np.uint8))
    peaks = np.flatnonzero((picture == highest) & (picture >= _LEAST_PEAK))
    y, x = np.divmod(peaks, width)
    cell = (y * rows // height) * columns + x * columns // width
    order = np.argsort(cell, kind="stable")
    parts = np.split(picture.ravel()[peaks[order]], np.searchsorted(cell[order], np.arange(1, rows * columns)))
    share = rate / (rows * columns)
    return np.array([threshold_for(part, share) for part in parts]).reshape(rows, columns)


def grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of cells that a picture (H, W) has."""
    return max(1, round(shape[0] / CELL)), max(1, round(shape[1] / CELL))


def spread(cells: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """The value (H, W) that each pixel's cell has."""
    return np.asarray(cv2.resize(cells.astype(np.float32), shape[::-1], interpolation=cv2.INTER_NEAREST))
