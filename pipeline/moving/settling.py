"""Thresholds that do not jump with every frame's peaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.1
"""Share of what a frame says in the running means."""
_BURST = 1.5


class Settling:
    """Follows what each part of the frame has needed."""

    def __init__(self) -> None:
        self._usual: NDArray[np.float64] | None = None

    def see(self, now: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take in the next frame.

        Args:
            now: (rows, columns), what its peaks ask for; infinite ones, of too few peaks, say nothing.

        Returns:
            what is needed; at once what is asked for where much of a cell changes, as at the key frames of a coder.
        """
        if self._usual is None:
            self._usual = now
        else:
            followed = np.where(np.isfinite(now), (1 - SMOOTHING) * self._usual + SMOOTHING * now, self._usual)
            self._usual = np.where(np.isfinite(self._usual), followed, now)
        return np.where(np.isfinite(now) & (now > _BURST * self._usual), now, self._usual)
