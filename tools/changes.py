"""What changes along consecutive pictures, as the pipeline shows it to a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nets.normalisation import change_picture
from pipeline.capture.source import Picture
from pipeline.moving.change_detection import ChangeDetector
from pipeline.moving.config import MovingConfig
from pipeline.preprocess.ego_motion import EgoMotionConfig, EgoMotionEstimator


class Changes:
    """Follows the pictures of one source, given in order, with the settings that the pipeline has by itself."""

    def __init__(self) -> None:
        self._ego_motion = EgoMotionEstimator(EgoMotionConfig())
        self._moving = ChangeDetector(MovingConfig())

    def see(self, picture: Picture, pts: float) -> NDArray[np.uint8]:
        """The change picture (H, W) of the next picture; all 0 where nothing is known.

        Args:
            picture: (H, W), native counts.
            pts: media time, s.
        """
        evidence = self._moving.see(picture, self._ego_motion.estimate(picture), pts)
        return np.zeros(picture.shape, np.uint8) if evidence is None else change_picture(evidence.significance)
