"""Peaks that stay from frame to frame: whatever they are, they are not the noise that thresholds are to be read off."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.detect.moving.threshold import ranked_peaks, spread
from pipeline.messages import EgoMotion
from pipeline.preprocess.registration import Image

REACH_PX = 3
"""How far a peak may be from where one was a frame ago, in the scene and along each axis."""
LASTING = 8
"""Frames in a row. One of the ten highest peaks of a cell of 64 px is within reach of a place by chance in one frame of
eight."""
LEVEL = 1
"""Of ``threshold.RANKS``: peaks of a cell as high as that one are followed."""
_NEAR = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)


class LastingPeaks:
    """Follows the highest peaks of a source's frames, each from one frame to the next."""

    def __init__(self) -> None:
        self._places = np.empty((0, 2))
        self._ages = np.empty(0, np.float32)

    def passed_over(self, picture: Image, peaks: NDArray[np.intp], ego: EgoMotion) -> NDArray[np.float64]:
        """Heights that thresholds follow from, of the peaks that have not lasted.

        Args:
            picture: (H, W), of the next frame.
            peaks: of it, see ``find_peaks``.
            ego: motion since the last frame.

        Returns:
            see ``ranked_peaks``.
        """
        y, x = np.divmod(peaks, picture.shape[1])
        ages = self._known(picture.shape, ego)[y, x] + 1
        ranked = ranked_peaks(picture, peaks[ages <= LASTING])
        level = spread(np.nan_to_num(ranked[..., LEVEL], nan=np.inf), (picture.shape[0], picture.shape[1]))
        high = picture[y, x] >= level[y, x]
        self._places, self._ages = np.stack([x, y], axis=1)[high].astype(np.float64), ages[high]
        return ranked

    def _known(self, shape: tuple[int, ...], ego: EgoMotion) -> Image:
        """The age of what is within reach of each place; 0 where nothing is."""
        matrix = np.reshape(ego.matrix, (2, 3))
        x, y = np.rint(self._places @ matrix[:, :2].T + matrix[:, 2]).astype(int).T
        seen = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
        ages = np.zeros(shape, np.float32)
        np.maximum.at(ages, (y[seen], x[seen]), self._ages[seen])
        return np.asarray(cv2.dilate(ages, _NEAR), np.float32)
