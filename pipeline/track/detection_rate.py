"""Probability with which the targets of a source are detected in a frame, estimated from all of its confirmed tracks.

Of bright targets a frame shows nine in ten, of dim ones in noise four in ten. A single track cannot tell a dim target
from one that has gone; all tracks of a source together can, since its targets are seen by one camera in one scene, and
few of them vanish at a time.
"""

from __future__ import annotations

import numpy as np

from pipeline.track.evidence import USUAL_DETECTION, decay
from pipeline.track.kalman import Array

LOWEST = 0.3
PRIOR = 100.0
"""Weight of ``USUAL_DETECTION`` in the estimate, in frames of one track; four tracks at 25 Hz bring as much."""


class DetectionRate:
    """Share of frames with a detection between the detections of confirmed tracks, over about the last second.

    Misses count once the track is detected again, so those of targets that have gone do not. The estimate is the mean
    under a prior at ``USUAL_DETECTION``, so a few tracks hardly change it.
    """

    def __init__(self) -> None:
        self._hits = self._frames = 0.0

    def update(self, gaps: Array, dt: float) -> None:
        """Add a frame.

        Args:
            gaps: (n,) number of frames in which each confirmed track that is detected now was missed just before.
            dt: time since the previous frame in s.
        """
        kept = decay(dt)
        self._hits = kept * self._hits + len(gaps)
        self._frames = kept * self._frames + len(gaps) + float(np.maximum(gaps, 0).sum())

    @property
    def probability(self) -> float:
        """Probability that a target is detected in the next frame, ``LOWEST`` to ``USUAL_DETECTION``."""
        mean = (self._hits + USUAL_DETECTION * PRIOR) / (self._frames + PRIOR)
        return min(USUAL_DETECTION, max(LOWEST, mean))
