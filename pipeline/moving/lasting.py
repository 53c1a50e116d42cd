"""Peaks that stay from frame to frame: whatever they are, they are not the noise that thresholds are to be read off."""

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
"""How far a peak may be from where one was a frame ago, in the scene and along each axis."""
LASTING = 8
"""Frames in a row. One of the forty highest peaks of a cell of 64 px is within reach of a place by chance in every
second frame."""
LEVEL = 2
"""Of ``threshold.RANKS``: peaks of a cell as high as that one are followed."""
_NEAR = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)


class LastingPeaks:
    """Follows the highest peaks of a source's frames, each from one frame to the next."""

    def __init__(self) -> None:
        self._places = np.empty((0, 2))
        self._ages = np.empty(0, np.float32)

    def fresh(self, peaks: Peaks, shape: tuple[int, int], ego: EgoMotion) -> tuple[Peaks, NDArray[np.float64]]:
        """Those that have not lasted, and what ``ranked_peaks`` says of them.

        Args:
            peaks: of the next frame.
            shape: of the frame, (H, W).
            ego: motion since the last frame.
        """
        ages = self._known(shape, ego)[peaks.y, peaks.x] + 1
        fresh = peaks.only(ages <= LASTING)
        ranked = ranked_peaks(fresh, shape)
        level = np.nan_to_num(ranked[..., LEVEL], nan=np.inf)
        high = peaks.height >= level.ravel()[cell_of(peaks, shape)]
        self._places, self._ages = np.stack([peaks.x, peaks.y], axis=1)[high].astype(np.float64), ages[high]
        return fresh, ranked

    def _known(self, shape: tuple[int, int], ego: EgoMotion) -> Image:
        """The age of what is within reach of each place; 0 where nothing is."""
        x, y = np.rint(carry(self._places, ego.matrix)).astype(int).T
        seen = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
        ages = np.zeros(shape, np.float32)
        np.maximum.at(ages, (y[seen], x[seen]), self._ages[seen])
        return np.asarray(cv2.dilate(ages, _NEAR), np.float32)
