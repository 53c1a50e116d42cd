"""Thresholds that let false peaks through at a wanted rate, whatever each part of the frame is like."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.moving.peaks import Peaks

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


def ranked_peaks(peaks: Peaks, shape: tuple[int, int], side: int = CELL) -> NDArray[np.float64]:
    """What the threshold of each cell of a picture follows from.

    Args:
        peaks: of it, none of them outside.
        shape: of the picture, (H, W).
        side: of the cells, px.

    Returns:
        (rows, columns, 3), heights of the peaks of ``RANKS`` in cells of equal size, see ``grid``; NaN in cells of too
        few peaks to tell.
    """
    rows, columns = grid(shape, side)
    cells = rows * columns
    cell = cell_of(peaks, shape, side)
    count = np.bincount(cell, minlength=cells)
    order = np.argsort(cell.astype(np.min_scalar_type(cells)), kind="stable")  # 16 bits are sorted by radix
    by_cell = cell[order]
    number = np.arange(len(order)) - (np.cumsum(count) - count)[by_cell]
    # Many short rows are sorted in a tenth of the time of a long one.
    low = np.full((cells, max(int(count.max()), RANKS[-1])), np.inf, np.float32)
    low[by_cell, number] = -peaks.height[order]
    low.sort(axis=1)
    ranked = -low[:, [rank - 1 for rank in RANKS]].astype(np.float64)
    ranked[count < RANKS[-1]] = np.nan
    return ranked.reshape(rows, columns, len(RANKS))


def tail_powers(ranked: NDArray[np.float64]) -> NDArray[np.float64]:
    """How fast the tail of each cell's peaks falls.

    Args:
        ranked: see ``ranked_peaks``.

    Returns:
        (rows, columns), of ``POWERS``; NaN where a cell does not tell.
    """
    high, middle, low = np.moveaxis(ranked, -1, 0)[..., None] ** POWERS
    # By the law, steps between the powers of heights are in proportion to those between the logarithms of ranks.
    excess = (high - middle) - (middle - low) * math.log(RANKS[1] / RANKS[0]) / math.log(RANKS[2] / RANKS[1])
    found = POWERS[np.minimum((excess < 0).sum(axis=-1), len(POWERS) - 1)]
    return np.where(np.isnan(ranked[..., 0]), np.nan, found)


def tail_power(powers: NDArray[np.float64]) -> float:
    """The median of a picture's cells: half of them may have targets, and they do not change it by much.

    Args:
        powers: see ``tail_powers``.

    Returns:
        NaN if no cell tells.
    """
    told = powers[np.isfinite(powers)]
    return float(np.median(told)) if len(told) else math.nan


def smoothed(powers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each cell and its eight neighbours the median; NaN where none of them tells.

    Args:
        powers: see ``tail_powers``.
    """
    around = np.lib.stride_tricks.sliding_window_view(np.pad(powers, 1, constant_values=np.nan), (3, 3))
    ordered = np.sort(around.reshape(*powers.shape, 9), axis=-1)  # NaN comes last
    told = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    middle = [np.take_along_axis(ordered, np.maximum(told + less, 0) // 2, -1)[..., 0] for less in (-1, 0)]
    return np.asarray(np.where(told[..., 0], (middle[0] + middle[1]) / 2, np.nan))


def thresholds(ranked: NDArray[np.float64], rate: float, power: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """The heights that ``rate`` false peaks of a picture exceed, as many in each cell.

    Above any high enough level the logarithm of how many peaks are higher falls in proportion to a power of the
    height (a Weibull tail), so where it falls to a rate can be read off two peaks of lower rank.

    Args:
        ranked: see ``ranked_peaks``.
        rate: peaks in the whole picture.
        power: of the law, one for all or (rows, columns).

    Returns:
        (rows, columns); infinity where ``ranked`` or ``power`` is NaN.
    """
    share = rate / math.prod(ranked.shape[:2])
    middle, low = ranked[..., 1] ** power, ranked[..., 2] ** power
    steps = max(0.0, math.log(RANKS[1] / share)) / math.log(RANKS[2] / RANKS[1])
    found: NDArray[np.float64] = (middle + (middle - low) * steps) ** (1 / power)
    return np.where(np.isnan(found), math.inf, found)


def noisiness(power: float) -> float:
    """From 0 where peaks whose tails fall with this power are clutter to 1 where they are noise; 0 if it is NaN."""
    return 0.0 if math.isnan(power) else float(np.interp(power, NOISE, (0, 1)))


def grid(shape: tuple[int, int], side: int = CELL) -> tuple[int, int]:
    """Rows and columns of cells that a picture (H, W) has: of ``side`` px, or up to a half more or a third less."""
    return max(1, round(shape[0] / side)), max(1, round(shape[1] / side))


def cell_of(peaks: Peaks, shape: tuple[int, int], side: int = CELL) -> NDArray[np.int32]:
    """The cell (n,) of each peak of a picture (H, W), row by row of ``grid``."""
    rows, columns = grid(shape, side)
    return (peaks.y * rows // shape[0]) * columns + peaks.x * columns // shape[1]


def spread(cells: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """The value (H, W) that each pixel's cell has."""
    return np.asarray(cv2.resize(cells.astype(np.float32), shape[::-1], interpolation=cv2.INTER_NEAREST))
