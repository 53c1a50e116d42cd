"""How sharp a thing is in a single frame, beside whatever else has changed.

Optics draw a far target as a point, one pixel wide or two. What changes otherwise is mostly softer: an edge that
registration has left half a pixel off, a branch, a block that a coder has drawn anew. So of two changes that are as
strong the sharper one is likelier a target, and how much likelier the frame itself tells.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.moving.peaks import Peaks
from pipeline.preprocess.registration import Image

SHARE, LEAST_COUNT = 0.1, 50
"""Of a frame's peaks of change, as many of the highest are what a thing is held against: what hardly changes is softer
than any clutter."""
TARGETS = 0.1
"""First parameter of the Beta distribution (the second is 1) that the rank of a target's sharpness follows."""
_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32) / 4


class Sharpness(NamedTuple):
    """Of one frame.

    Attributes:
        picture: (H, W) counts, see ``sharpest``.
        others: (m,) ascending, the same at its greatest changes.
        weight: 0 to 1, how much it is believed.
    """

    picture: Image
    others: NDArray[np.float32]
    weight: float

    def says(self, sharp: NDArray[np.floating]) -> NDArray[np.float64]:
        """How much likelier a target is than chance to be as sharp as this: log likelihood ratio, nats.

        By chance the share of others that are as sharp is uniform.

        Args:
            sharp: (n,) counts, each counted as one of the others as well.
        """
        as_sharp = len(self.others) - np.searchsorted(self.others, sharp, side="left")
        share = (as_sharp + 1) / (len(self.others) + 1)
        return np.asarray(self.weight * (math.log(TARGETS) + (TARGETS - 1) * np.log(share)))


def sharpness(picture: Image, peaks: Peaks, weight: float) -> Sharpness:
    """How sharp things are in a frame.

    Args:
        picture: (H, W), counts.
        peaks: (n,) of the significance of its changes.
        weight: see ``Sharpness``.
    """
    sharp = sharpest(picture)
    count = max(LEAST_COUNT, round(SHARE * len(peaks.height)))
    least = np.partition(peaks.height, -count)[-count] if count < len(peaks.height) else 0.0
    most = peaks.only(peaks.height >= least)
    return Sharpness(sharp, np.sort(sharp[most.y, most.x]), weight)


def sharpest(picture: Image) -> Image:
    """The most that any of the nine pixels around each one (H, W) differs from the mean of its own four neighbours."""
    laplacian = cv2.filter2D(picture, -1, _LAPLACIAN, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.dilate(np.abs(laplacian, out=laplacian), np.ones((3, 3), np.uint8)))
