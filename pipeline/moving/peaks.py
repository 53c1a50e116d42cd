"""Local maxima of a picture."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_LEAST = 0.5


class Peaks(NamedTuple):
    """Local maxima of a picture.

    Attributes:
        x, y: (n,) int32, px; wider numbers are multiplied and divided in ten times the time.
        height: (n,) float32, the picture there.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    height: NDArray[np.float32]

    def only(self, which: NDArray[np.bool_]) -> Peaks:
        """Those of them."""
        return Peaks(self.x[which], self.y[which], self.height[which])


def find_peaks(picture: NDArray[np.float32]) -> Peaks:
    """The pixels of a picture (H, W) that are the largest of the 25 around each, row by row."""
    highest = cv2.dilate(picture, np.ones((5, 5), np.uint8))
    found = np.flatnonzero((picture == highest) & (picture >= _LEAST)).astype(np.int32)
    y, x = np.divmod(found, np.int32(picture.shape[1]))
    return Peaks(x, y, picture[y, x])
