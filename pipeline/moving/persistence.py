"""Removal of peaks that persist over frames: they are not noise, and thresholds must be estimated without them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.carry import carry
from pipeline.messages import EgoMotion
from pipeline.moving.peaks import Peaks
from pipeline.moving.threshold import cell_of, ranked_peaks
from pipeline.preprocess.registration import Image

REACH_PX = 3
"""Largest distance in px along each axis, in scene coordinates, between a peak and its match one frame ago."""
MAX_AGE_FRAMES = 8
"""Peaks that are present in more than this many consecutive frames are persistent. By chance one of the forty highest
noise peaks of a 64 px cell is within reach of a given position in every second frame."""
LEVEL = 2
"""Index into ``threshold.RANKS``. Peaks at least as high as the peak of that rank in their cell are followed."""
_NEAR = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)


class PersistentPeaks:
    """Follows the highest peaks of each cell from frame to frame and counts for how many frames they persist."""

    def __init__(self) -> None:
        self._places = np.empty((0, 2))
        self._ages = np.empty(0, np.float32)

    def remove_persistent(
        self, peaks: Peaks, shape: tuple[int, int], ego: EgoMotion
    ) -> tuple[Peaks, NDArray[np.float64]]:
        """Return the peaks of the next frame that are not persistent, and the result of ``ranked_peaks`` for them.

        Args:
            peaks: Peaks of the next frame.
            shape: (H, W) of the frame.
            ego: Camera motion since the previous frame.
        """
        ages = self._ages_nearby(shape, ego)[peaks.y, peaks.x] + 1
        transient = peaks.select(ages <= MAX_AGE_FRAMES)
        ranked = ranked_peaks(transient, shape)
        level = np.nan_to_num(ranked[..., LEVEL], nan=np.inf)
        high = peaks.height >= level.ravel()[cell_of(peaks, shape)]
        self._places, self._ages = np.stack([peaks.x, peaks.y], axis=1)[high].astype(np.float64), ages[high]
        return transient, ranked

    def _ages_nearby(self, shape: tuple[int, int], ego: EgoMotion) -> Image:
        """Return an (H, W) map of the age in frames of the oldest followed peak within reach; 0 where there is none."""
        x, y = np.rint(carry(self._places, ego.matrix)).astype(int).T
        inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
        ages = np.zeros(shape, np.float32)
        np.maximum.at(ages, (y[inside], x[inside]), self._ages[inside])
        return np.asarray(cv2.dilate(ages, _NEAR), np.float32)
