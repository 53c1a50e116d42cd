"""Thresholds that let false peaks through at a wanted rate, whatever each part of the frame is like."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

CELL = 64
"""Side of the parts, px: water, sky and trees each get thresholds of their own."""
RANKS = (4, 10, 40)
"""Where the heights of a cell's peaks are read off. Targets in a cell are hardly ever as many as the second of these,
and in half of the cells not as many as the first; the peaks of lower rank are none."""
POWERS = np.linspace(0.6, 2.4, 19)
"""Of the laws that peaks may follow: 2 for Gaussian noise, 1 for exponential tails, less for edges that shake."""
NOISE = (1.5, 1.9)
"""Powers between which what passes turns from clutter into noise. Noise comes anywhere, and a tracker that knows how
often does not take a chain of it for a target; it takes an edge that shakes for one."""
NOISE_RATE = 6.0
"""So many times as many peaks may pass where they are noise."""
_LEAST_PEAK = 0.5


def find_peaks(picture: NDArray[np.float32]) -> NDArray[np.intp]:
    """Places, in the flattened picture (H, W), of the pixels that are the largest of the 25 around each."""
    highest = cv2.dilate(picture, np.ones((5, 5), np.uint8))
    return np.flatnonzero((picture == highest) & (picture >= _LEAST_PEAK))


def ranked_peaks(picture: NDArray[np.float32], peaks: NDArray[np.intp]) -> NDArray[np.float64]:
    """What the threshold of each cell of a picture follows from.

    Args:
        picture: (H, W).
        peaks: of it, see ``find_peaks``.

    Returns:
        (rows, columns, 3), heights of the peaks of ``RANKS`` in cells of equal size, at most ``CELL`` px and a half of
        that; NaN in cells of too few peaks to tell.
    """
    height, width = picture.shape
    rows, columns = grid(picture.shape)
    y, x = np.divmod(peaks, width)
    cell = (y * rows // height) * columns + x * columns // width
    order = np.argsort(cell, kind="stable")
    parts = np.split(picture.ravel()[peaks[order]], np.searchsorted(cell[order], np.arange(1, rows * columns)))
    places = [rank - 1 for rank in RANKS]
    none = np.full(len(RANKS), np.nan)
    ranked = [-np.partition(-part, places)[places] if len(part) > places[-1] else none for part in parts]
    return np.array(ranked, np.float64).reshape(rows, columns, len(RANKS))


def tail_power(ranked: NDArray[np.float64]) -> float:
    """How fast the tails of a picture's peaks fall: the median of what the three heights of each cell tell.

    Half of the cells may have targets, and they do not change it by much.

    Args:
        ranked: see ``ranked_peaks``.

    Returns:
        within ``POWERS``; NaN if no cell tells.
    """
    told = ranked[np.isfinite(ranked[..., 0])]
    if not len(told):
        return math.nan
    high, middle, low = told.T[:, :, None] ** POWERS
    # By the law, steps between the powers of heights are in proportion to those between the logarithms of ranks.
    excess = (high - middle) - (middle - low) * math.log(RANKS[1] / RANKS[0]) / math.log(RANKS[2] / RANKS[1])
    return float(np.median(POWERS[np.minimum((excess < 0).sum(axis=1), len(POWERS) - 1)]))


def thresholds(ranked: NDArray[np.float64], rate: float, power: float) -> NDArray[np.float64]:
    """The heights that ``rate`` false peaks of a picture exceed, as many in each cell.

    Above any high enough level the logarithm of how many peaks are higher falls in proportion to a power of the
    height (a Weibull tail), so where it falls to a rate can be read off two peaks of lower rank.

    Args:
        ranked: see ``ranked_peaks``.
        rate: peaks in the whole picture.
        power: of the law, see ``tail_power``.

    Returns:
        (rows, columns); infinity where ``ranked`` is NaN.
    """
    share = rate / math.prod(ranked.shape[:2])
    middle, low = ranked[..., 1] ** power, ranked[..., 2] ** power
    steps = max(0.0, math.log(RANKS[1] / share)) / math.log(RANKS[2] / RANKS[1])
    found: NDArray[np.float64] = (middle + (middle - low) * steps) ** (1 / power)
    return np.where(np.isnan(found), math.inf, found)


def noisiness(power: float) -> float:
    """From 0 where peaks whose tails fall with this power are clutter to 1 where they are noise; 0 if it is NaN."""
    return 0.0 if math.isnan(power) else float(np.interp(power, NOISE, (0, 1)))


def grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of cells that a picture (H, W) has."""
    return max(1, round(shape[0] / CELL)), max(1, round(shape[1] / CELL))


def spread(cells: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """The value (H, W) that each pixel's cell has."""
    return np.asarray(cv2.resize(cells.astype(np.float32), shape[::-1], interpolation=cv2.INTER_NEAREST))
