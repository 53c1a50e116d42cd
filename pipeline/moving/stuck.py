"""Stuck pixels of the sensor: those that differ from their neighbours wherever the camera points."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.detect.components import MAD_TO_SIGMA
from pipeline.messages import MAX_OBJECTS, MENDED_DTYPE, Table
from pipeline.preprocess.registration import Image

MEMORY = 16
"""Time constant of the running mean in frames. What stands out for much longer is caused by the sensor."""
OUTLIER_SIGMAS = 5.0
"""Threshold for the mean difference between a pixel and its 3x3 median, in standard deviations of that difference."""
STEADY = 0.4
"""Minimum ratio of a stuck pixel's mean difference to its current one. A passing target has a lower ratio."""


class StuckPixels:
    """Detects stuck pixels by a running mean of the difference between each pixel and its 3x3 median.

    While the camera does not move, equally sharp stationary details of the scene are treated as stuck pixels too. This
    is acceptable, because they do not move either.
    """

    def __init__(self) -> None:
        self._mean: Image | None = None

    def mend(self, picture: Image) -> tuple[Image, Table]:
        """Replace stuck pixels by their 3x3 median, after updating the running mean with the picture.

        Args:
            picture: (H, W) float32 in counts.

        Returns:
            A corrected copy of the picture, and the replaced pixels as rows of ``MENDED_DTYPE``.
        """
        median = cv2.medianBlur(picture, 3)
        excess = picture - median
        if self._mean is None or self._mean.shape != excess.shape:
            self._mean = np.zeros_like(excess)
        cv2.accumulateWeighted(excess, self._mean, 1 / MEMORY)
        noise = MAD_TO_SIGMA * float(np.median(np.abs(excess[::3, ::3])))
        stuck = np.flatnonzero(np.abs(self._mean) > OUTLIER_SIGMAS * max(noise, 0.5))
        stuck = stuck[np.abs(self._mean.flat[stuck]) > STEADY * np.abs(excess.flat[stuck])]
        stuck = stuck[:MAX_OBJECTS]
        replaced, mended = np.zeros(len(stuck), MENDED_DTYPE), picture.copy()
        replaced["at"], replaced["count"] = stuck, median.flat[stuck]
        mended.flat[stuck] = replaced["count"]
        return mended, replaced
