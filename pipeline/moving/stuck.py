"""Stuck pixels of the sensor: those that differ from their neighbours wherever the camera points."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.detect.components import MAD_TO_SIGMA
from pipeline.messages import MAX_OBJECTS, REPLACED_DTYPE, EgoMotion, Table
from pipeline.preprocess.registration import Image

MEMORY = 16
"""Time constant of the running mean in frames. What stands out for much longer is caused by the sensor."""
OUTLIER_SIGMAS = 5.0
"""Threshold for the mean difference between a pixel and its 3x3 median, in standard deviations of that difference."""
STEADY = 0.4
"""Minimum ratio of a stuck pixel's mean difference to its current one. A passing target has a lower ratio."""
SINGLE = 0.03
"""Largest mean difference of the eight pixels around a defect from their own 3x3 medians, relative to its own. Targets
that a gimbal holds on one pixel have more: a diffraction-limited long-wave lens of f/1.0 with pixels of 17 um and 3 um
of blur 0.06. Noise leaves less at defects of some 30 standard deviations and more."""
MOVED_PX = 1.5
"""Displacement in px of the scene below a pixel that proves that it is the pixel that stands out, not the scene."""

_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)


class StuckPixels:
    """Detects stuck pixels by a running mean of the difference between each pixel and its 3x3 median.

    While the camera does not move, equally sharp stationary details of the scene are treated as stuck pixels too. For
    the comparison of frames this is acceptable, because they do not move either. *Defects* are the stuck pixels that
    cannot be part of the scene: single pixels that have stood out while the scene moved below them.

    Attributes:
        defects: Defects in the latest picture and their replacements, rows of ``REPLACED_DTYPE`` ordered by index.
    """

    def __init__(self) -> None:
        self.defects: Table = np.empty(0, REPLACED_DTYPE)
        self._mean: Image | None = None
        self._reset()

    def _reset(self) -> None:
        """Forget which single pixels stood out, what of the scene was below each at first, and how far it has moved."""
        self._single = np.empty(0, np.int64)
        self._scene = np.empty((0, 2))
        self._moved = np.empty(0)

    def mend(self, picture: Image, ego: EgoMotion) -> tuple[Image, Table]:
        """Replace stuck pixels by their 3x3 median, after updating the running mean with the picture.

        Args:
            picture: (H, W) float32 in counts.
            ego: Camera motion since the previous picture.

        Returns:
            A corrected copy of the picture, and the replaced pixels as rows of ``REPLACED_DTYPE``.
        """
        median = cv2.medianBlur(picture, 3)
        excess = picture - median
        if self._mean is None or self._mean.shape != excess.shape:
            self._mean = np.zeros_like(excess)
            self._reset()
        cv2.accumulateWeighted(excess, self._mean, 1 / MEMORY)
        mean = np.abs(self._mean)
        noise = MAD_TO_SIGMA * float(np.median(np.abs(excess[::3, ::3])))
        outliers = np.flatnonzero(mean > OUTLIER_SIGMAS * max(noise, 0.5))
        height = np.take(mean, outliers)  # ``mean.flat[outliers]`` would take seven times as long
        single = outliers[np.take(cv2.dilate(mean, _RING), outliers) < SINGLE * height]
        defects = self._defects(single, picture.shape[1], ego)
        steady = height > STEADY * np.abs(np.take(excess, outliers))
        stuck, is_defect = outliers[steady], np.isin(outliers[steady], defects)
        if len(stuck) > MAX_OBJECTS:  # many sharp details that do not move; they may go first
            kept = np.sort(np.argsort(~is_defect, kind="stable")[:MAX_OBJECTS])
            stuck, is_defect = stuck[kept], is_defect[kept]
        replaced, mended = np.zeros(len(stuck), REPLACED_DTYPE), picture.copy()
        replaced["at"], replaced["count"] = stuck, np.take(median, stuck)
        np.put(mended, stuck, replaced["count"])
        self.defects = replaced[is_defect]
        return mended, replaced

    def _defects(self, single: NDArray[np.int64], width: int, ego: EgoMotion) -> NDArray[np.int64]:
        """Return those of the single pixels that have been so since the scene below them moved by ``MOVED_PX``."""
        here = np.stack(np.divmod(single, width)[::-1], axis=1).astype(np.float64)
        scene, moved = here.copy(), np.zeros(len(here))
        _, new, old = np.intersect1d(single, self._single, assume_unique=True, return_indices=True)
        a, b, tx, c, d, ty = ego.matrix
        scene[new] = self._scene[old] @ np.array([[a, c], [b, d]]) + (tx, ty) if ego.ok else self._scene[old]
        moved[new] = np.maximum(self._moved[old], np.hypot(*(scene[new] - here[new]).T))
        self._single, self._scene, self._moved = single, scene, moved
        return single[moved > MOVED_PX]
