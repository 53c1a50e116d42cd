"""Detection of local maxima."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_MIN_HEIGHT = 0.5  # lowest height of a peak, in the units of the picture


class Peaks(NamedTuple):
    """Local maxima of a picture.

    Attributes:
        x, y: (n,) int32, positions in px. int64 arithmetic would take ten times as long.
        height: (n,) float32, values of the picture at the peaks.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    height: NDArray[np.float32]

    def select(self, mask: NDArray[np.bool_]) -> Peaks:
        """Return the peaks selected by a boolean mask (n,)."""
        return Peaks(self.x[mask], self.y[mask], self.height[mask])


def find_peaks(picture: NDArray[np.float32]) -> Peaks:
    """Return the pixels of a picture (H, W) that are the maximum of their 5x5 neighbourhood, in row-major order."""
    highest = cv2.dilate(picture, np.ones((5, 5), np.uint8))
    index = np.flatnonzero((picture == highest) & (picture >= _MIN_HEIGHT)).astype(np.int32)
    y, x = np.divmod(index, np.int32(picture.shape[1]))
    return Peaks(x, y, picture[y, x])
