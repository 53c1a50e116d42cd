"""Per-cell thresholds for a given rate of false peaks, extrapolated from the tail of each cell's peak heights."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.moving.peaks import Peaks

CELL = 64
"""Side of the cells in px. Water, sky and trees thus get their own thresholds."""
RANKS = (4, 10, 40)
"""Ranks of the peaks from which the tail of a cell is estimated. A cell hardly ever contains as many targets as the
second rank, and half of the cells contain fewer than the first, so peaks of lower rank are not targets."""
TAIL_EXPONENTS = np.linspace(0.6, 2.4, 19)
"""Candidate tail exponents: 2 for Gaussian noise, 1 for exponential tails, less for edges that jitter."""
NOISE = (1.5, 1.9)
"""Tail exponents between which peaks change from clutter to noise. Noise peaks occur anywhere, and a tracker that knows
their rate does not confirm chains of them as targets; a jittering edge it would confirm."""


def ranked_peaks(peaks: Peaks, shape: tuple[int, int], side: int = CELL) -> NDArray[np.float64]:
    """Return the heights of the peaks of ``RANKS`` in each cell of a picture, from which its threshold is derived.

    Args:
        peaks: Peaks of the picture, all within its bounds.
        shape: (H, W) of the picture.
        side: Side of the cells in px, see ``grid``.

    Returns:
        (rows, columns, 3) heights; NaN in cells with fewer peaks than the last rank.
    """
    rows, columns = grid(shape, side)
    cells = rows * columns
    cell = cell_of(peaks, shape, side)
    count = np.bincount(cell, minlength=cells)
    order = np.argsort(cell.astype(np.min_scalar_type(cells)), kind="stable")  # NumPy sorts 16-bit integers by radix
    by_cell = cell[order]
    number = np.arange(len(order)) - (np.cumsum(count) - count)[by_cell]
    # Sorting many short rows takes a tenth of the time of sorting one long row.
    low = np.full((cells, max(int(count.max()), RANKS[-1])), np.inf, np.float32)
    low[by_cell, number] = -peaks.height[order]
    low.sort(axis=1)
    ranked = -low[:, [rank - 1 for rank in RANKS]].astype(np.float64)
    ranked[count < RANKS[-1]] = np.nan
    return ranked.reshape(rows, columns, len(RANKS))


def tail_exponents(ranked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the tail exponent of each cell's peak heights.

    Args:
        ranked: (rows, columns, 3) heights, see ``ranked_peaks``.

    Returns:
        (rows, columns) values from ``TAIL_EXPONENTS``; NaN in cells with too few peaks.
    """
    high, middle, low = np.moveaxis(ranked, -1, 0)[..., None] ** TAIL_EXPONENTS
    # In a Weibull tail, differences of heights raised to the exponent are proportional to differences of log rank.
    excess = (high - middle) - (middle - low) * math.log(RANKS[1] / RANKS[0]) / math.log(RANKS[2] / RANKS[1])
    exponents = TAIL_EXPONENTS[np.minimum((excess < 0).sum(axis=-1), len(TAIL_EXPONENTS) - 1)]
    return np.where(np.isnan(ranked[..., 0]), np.nan, exponents)


def median_tail_exponent(exponents: NDArray[np.float64]) -> float:
    """Return the median tail exponent of a picture's cells, which is robust to targets in up to half of them.

    Args:
        exponents: (rows, columns) tail exponents, see ``tail_exponents``.

    Returns:
        The median of the finite values; NaN if there are none.
    """
    finite = exponents[np.isfinite(exponents)]
    return float(np.median(finite)) if len(finite) else math.nan


def median_of_neighbours(exponents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median over each cell and its eight neighbours, ignoring NaN; NaN where all of them are.

    Args:
        exponents: (rows, columns) tail exponents, see ``tail_exponents``.
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(exponents, 1, constant_values=np.nan), (3, 3))
    ordered = np.sort(windows.reshape(*exponents.shape, 9), axis=-1)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    middle = [np.take_along_axis(ordered, np.maximum(count + offset, 0) // 2, -1)[..., 0] for offset in (-1, 0)]
    return np.asarray(np.where(count[..., 0], (middle[0] + middle[1]) / 2, np.nan))


def thresholds(ranked: NDArray[np.float64], rate: float, exponent: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the thresholds that ``rate`` false peaks of a picture exceed, with the same rate in each cell.

    In the tail, the logarithm of the number of higher peaks falls in proportion to a power of the height (a Weibull
    tail). The height at which it falls to the given rate is extrapolated from the peaks of the second and third rank.

    Args:
        ranked: (rows, columns, 3) heights, see ``ranked_peaks``.
        rate: Expected number of false peaks in the whole picture.
        exponent: Tail exponent, one for all cells or (rows, columns).

    Returns:
        (rows, columns) thresholds; infinity where ``ranked`` or ``exponent`` is NaN.
    """
    share = rate / math.prod(ranked.shape[:2])
    middle, low = ranked[..., 1] ** exponent, ranked[..., 2] ** exponent
    steps = max(0.0, math.log(RANKS[1] / share)) / math.log(RANKS[2] / RANKS[1])
    limits: NDArray[np.float64] = (middle + (middle - low) * steps) ** (1 / exponent)
    return np.where(np.isnan(limits), math.inf, limits)


def noisiness(exponent: float) -> float:
    """Map a tail exponent to the degree, from 0 to 1, to which peaks are noise rather than clutter; 0 for NaN."""
    return 0.0 if math.isnan(exponent) else float(np.interp(exponent, NOISE, (0, 1)))


def grid(shape: tuple[int, int], side: int = CELL) -> tuple[int, int]:
    """Return the rows and columns of cells in a picture (H, W). A cell side is 2/3 to 3/2 of ``side``."""
    return max(1, round(shape[0] / side)), max(1, round(shape[1] / side))


def cell_of(peaks: Peaks, shape: tuple[int, int], side: int = CELL) -> NDArray[np.int32]:
    """Return the row-major index (n,) of the cell of ``grid`` that contains each peak of a picture (H, W)."""
    rows, columns = grid(shape, side)
    return (peaks.y * rows // shape[0]) * columns + peaks.x * columns // shape[1]


def expand(cells: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Expand values per cell to a value per pixel (H, W)."""
    return np.asarray(cv2.resize(cells.astype(np.float32), shape[::-1], interpolation=cv2.INTER_NEAREST))
