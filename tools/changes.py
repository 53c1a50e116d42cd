"""Change pictures of a sequence, as the pipeline feeds them to a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nets.normalisation import change_picture
from pipeline.capture.source import Picture
from pipeline.moving.change_detection import ChangeDetector
from pipeline.moving.config import MovingConfig
from pipeline.preprocess.ego_motion import EgoMotionConfig, EgoMotionEstimator


class Changes:
    """Computes the change pictures of one source with the pipeline's default settings.

    The pictures must be given in order.
    """

    def __init__(self) -> None:
        self._ego_motion = EgoMotionEstimator(EgoMotionConfig())
        self._moving = ChangeDetector(MovingConfig())

    def see(self, picture: Picture, pts: float) -> NDArray[np.uint8]:
        """Return the change picture (H, W) of the next picture; all 0 while nothing is known yet.

        Args:
            picture: (H, W) in native counts.
            pts: media time in s.
        """
        evidence = self._moving.update(picture, self._ego_motion.estimate(picture), pts)
        return np.zeros(picture.shape, np.uint8) if evidence is None else change_picture(evidence.significance)
