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
        x, y: (n,) int64, px.
        height: (n,) float32, the picture there.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    height: NDArray[np.float32]

    def only(self, which: NDArray[np.bool_]) -> Peaks:
        """Those of them."""
        return Peaks(self.x[which], self.y[which], self.height[which])


def find_peaks(picture: NDArray[np.float32]) -> Peaks:
    """The pixels of a picture (H, W) that are the largest of the 25 around each, highest first."""
    highest = cv2.dilate(picture, np.ones((5, 5), np.uint8))
    y, x = np.nonzero((picture == highest) & (picture >= _LEAST))
    order = np.argsort(-picture[y, x], kind="stable")
    return Peaks(x[order], y[order], picture[y, x][order])
