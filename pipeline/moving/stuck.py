"""Pixels that are stuck, told by standing out from their neighbours wherever the camera looks."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.detect.components import MAD_TO_SIGMA
from pipeline.messages import MAX_OBJECTS, MENDED_DTYPE, Table
from pipeline.preprocess.registration import Image

MEMORY = 16
"""Frames; what stands out for much longer is the sensor's."""
STANDS_OUT = 5.0
"""Standard deviations of a pixel's difference to the median of the nine around it."""
STEADY = 0.4
"""Share of what a pixel stands out now that it must have stood out all along: a target passes."""


class StuckPixels:
    """A running mean, per pixel of the sensor, of how much it differs from the median of the nine around it.

    What is in the scene and as sharp as that is taken for stuck while the camera does not move: it does not move
    either.
    """

    def __init__(self) -> None:
        self._mean: Image | None = None

    def mend(self, picture: Image) -> tuple[Image, Table]:
        """The picture (H, W) with stuck pixels replaced by that median; it is learned from as well.

        Returns:
            the picture, and what was replaced in it, ``MENDED_DTYPE``.
        """
        median = cv2.medianBlur(picture, 3)
        excess = picture - median
        if self._mean is None or self._mean.shape != excess.shape:
            self._mean = np.zeros_like(excess)
        cv2.accumulateWeighted(excess, self._mean, 1 / MEMORY)
        noise = MAD_TO_SIGMA * float(np.median(np.abs(excess[::3, ::3])))
        stuck = np.flatnonzero(np.abs(self._mean) > STANDS_OUT * max(noise, 0.5))
        stuck = stuck[np.abs(self._mean.flat[stuck]) > STEADY * np.abs(excess.flat[stuck])]
        stuck = stuck[:MAX_OBJECTS]
        replaced, mended = np.zeros(len(stuck), MENDED_DTYPE), picture.copy()
        replaced["at"], replaced["count"] = stuck, median.flat[stuck]
        mended.flat[stuck] = replaced["count"]
        return mended, replaced
