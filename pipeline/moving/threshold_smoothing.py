"""Temporal smoothing of thresholds, which fluctuate when they are derived from the peaks of single frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.1
"""Weight of the current frame in the running means."""
_BURST_RATIO = 1.5  # a cell that asks for more than this multiple of its running mean gets it at once


class SmoothedThresholds:
    """Running mean of the threshold of each cell of the frame."""

    def __init__(self) -> None:
        self._mean: NDArray[np.float64] | None = None

    def update(self, current: NDArray[np.float64]) -> NDArray[np.float64]:
        """Update the running means with the next frame.

        Args:
            current: (rows, columns) thresholds derived from the frame's own peaks. Infinite values, of cells with too
                few peaks, are ignored.

        Returns:
            (rows, columns) thresholds to apply: the running mean, or the frame's own threshold where it is well above
            the mean because much of the cell changes at once, as at the key frames of a video codec.
        """
        if self._mean is None:
            self._mean = current
        else:
            updated = np.where(np.isfinite(current), (1 - SMOOTHING) * self._mean + SMOOTHING * current, self._mean)
            self._mean = np.where(np.isfinite(self._mean), updated, current)
        return np.where(np.isfinite(current) & (current > _BURST_RATIO * self._mean), current, self._mean)
