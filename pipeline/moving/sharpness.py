"""Sharpness of an object in a single frame, ranked against that of the other changes in the frame.

Optics image a distant target as a point one or two pixels wide. Other changes are mostly softer: an edge misregistered
by half a pixel, a branch, a block redrawn by a video codec. Of two changes of equal strength the sharper one is
therefore more likely a target. How much more likely is estimated from the frame itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.moving.peaks import Peaks
from pipeline.preprocess.registration import Image

SHARE, MIN_COUNT = 0.1, 50
"""Fraction and minimum number of the highest change peaks of a frame that serve as reference. Lower peaks are excluded
because weak changes are softer than any clutter."""
TARGET_BETA = 0.1
"""First parameter of the Beta distribution of the relative rank of a target's sharpness; the second is 1."""
_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32) / 4


class Sharpness(NamedTuple):
    """Sharpness of one frame.

    Attributes:
        picture: (H, W) in counts, see ``sharpness_map``.
        references: (m,) reference values in counts: sharpness at the greatest changes of the frame, in ascending order.
        weight: Factor from 0 to 1 applied to the log-likelihood ratio.
    """

    picture: Image
    references: NDArray[np.float32]
    weight: float

    def log_likelihood_ratio(self, sharp: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log-likelihood ratio (n,) in nats of target versus chance, given sharpness values.

        Under the chance hypothesis the fraction of reference values that are at least as sharp is uniformly
        distributed.

        Args:
            sharp: (n,) sharpness in counts. Each value is also counted as one of the reference values.
        """
        as_sharp = len(self.references) - np.searchsorted(self.references, sharp, side="left")
        share = (as_sharp + 1) / (len(self.references) + 1)
        return np.asarray(self.weight * (math.log(TARGET_BETA) + (TARGET_BETA - 1) * np.log(share)))


def sharpness(picture: Image, peaks: Peaks, weight: float) -> Sharpness:
    """Measure the sharpness of a frame.

    Args:
        picture: (H, W) float32 in counts.
        peaks: (n,) peaks of the significance of change.
        weight: See ``Sharpness``.
    """
    sharp = sharpness_map(picture)
    count = max(MIN_COUNT, round(SHARE * len(peaks.height)))
    min_height = np.partition(peaks.height, -count)[-count] if count < len(peaks.height) else 0.0
    highest = peaks.select(peaks.height >= min_height)
    return Sharpness(sharp, np.sort(sharp[highest.y, highest.x]), weight)


def sharpness_map(picture: Image) -> Image:
    """Return (H, W) the 3x3 maximum of the absolute difference between a pixel and the mean of its four neighbours."""
    laplacian = cv2.filter2D(picture, -1, _LAPLACIAN, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.dilate(np.abs(laplacian, out=laplacian), np.ones((3, 3), np.uint8)))
