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
        self._usual: NDArray[np.float64] | None = None

    def see(self, now: NDArray[np.float64]) -> NDArray[np.float64]:
        """Update the running means with the next frame.

        Args:
            now: (rows, columns) thresholds derived from the frame's own peaks. Infinite values, of cells with too few
                peaks, are ignored.

        Returns:
            (rows, columns) thresholds to apply: the running mean, or the frame's own threshold where it is well above
            the mean because much of the cell changes at once, as at the key frames of a video codec.
        """
        if self._usual is None:
            self._usual = now
        else:
            followed = np.where(np.isfinite(now), (1 - SMOOTHING) * self._usual + SMOOTHING * now, self._usual)
            self._usual = np.where(np.isfinite(self._usual), followed, now)
        return np.where(np.isfinite(now) & (now > _BURST_RATIO * self._usual), now, self._usual)
