"""Temporal smoothing of thresholds, which fluctuate when they are derived from the peaks of single frames."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.1
"""Weight of the current frame in the running means."""
UNCERTAINTY = 0.25
"""Margin for a mean of one frame, in standard deviations; it falls with the number of frames. A threshold that varies
lets more false peaks through when it is too low than it holds back when it is too high. In noise it varies by
s = 0.4 from frame to frame, and peaks become rarer by a factor of e per 1 / 2.8, so 2.8 s^2 / 2 makes up for it."""
_BURST_RATIO = 1.5  # a cell that asks for more than this multiple of its running mean gets it at once


class SmoothedThresholds:
    """Running mean of the threshold of each cell.

    Args:
        cautious: Let no more false peaks through while the mean is that of few frames: all frames count alike until
            there are ``1 / SMOOTHING``, and ``UNCERTAINTY`` is added. Otherwise the first frame keeps its weight.
    """

    def __init__(self, cautious: bool) -> None:
        self._cautious = cautious
        self._mean: NDArray[np.float64] | None = None
        self._frames = np.empty(0, np.int64)  # with a finite threshold

    def update(self, current: NDArray[np.float64]) -> NDArray[np.float64]:
        """Update the running means with the next frame.

        Args:
            current: (rows, columns) thresholds derived from the frame's own peaks. Infinite values, of cells with too
                few peaks, are ignored.

        Returns:
            (rows, columns) thresholds to apply: the running mean, or the frame's own threshold where it is well above
            the mean because much of the cell changes at once, as at the key frames of a video codec.
        """
        finite = np.isfinite(current)
        if self._mean is None:
            self._mean, self._frames = np.zeros_like(current), np.zeros(current.shape, np.int64)
        self._frames = self._frames + finite
        frames = np.maximum(self._frames, 1)
        step = np.subtract(current, self._mean, where=finite, out=np.zeros_like(current))
        self._mean = self._mean + step * np.maximum(SMOOTHING, 1 / frames if self._cautious else frames == 1)
        margin = UNCERTAINTY / frames if self._cautious else 0.0
        smooth = np.where(self._frames > 0, self._mean + margin, math.inf)
        return np.where(finite & (current > _BURST_RATIO * self._mean), current, smooth)
