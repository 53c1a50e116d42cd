"""Frames of about the last second of a source, registered to the current frame."""

from __future__ import annotations

import numpy as np

from pipeline.messages import EgoMotion
from pipeline.moving.residual import PAST, is_featureless
from pipeline.moving.upsample import upsample, warp_upsampled
from pipeline.preprocess.registration import Image, Matrix, Reference, smooth

FIRST_SHARE = 1 / 3
"""At the start, a single past frame is already used once its age reaches this fraction of the interval."""
REGISTRATION_PERIOD = 2
"""Each past frame is registered to every n-th new frame. Every frame is no better, every fourth frame is worse."""
_CLOCK_S = 1e-3  # tolerance for rounded time stamps


class _Snapshot:  # a stored frame with its transform, gain and offset to the current frame
    def __init__(self, frame: Image, smoothed: Image, pts: float) -> None:
        self.samples, self.smoothed, self.pts = upsample(frame), smoothed, pts
        self.featureless = is_featureless(frame)
        self.to_now: Matrix = np.eye(3)
        self.gain, self.offset = 1.0, 0.0

    def follow(self, ego: EgoMotion) -> None:
        """Update the transform by the camera motion of one frame."""
        self.to_now = np.vstack([np.reshape(ego.matrix, (2, 3)), [0.0, 0.0, 1.0]]) @ self.to_now

    def register(self, now: Reference) -> None:
        """Refine the transform, and estimate gain and offset, by registration to the current frame."""
        self.to_now, self.gain, self.offset = now.register(self.smoothed, self.to_now)

    def warped(self) -> Image:
        """Return the frame (H, W) warped to the current view and brightness, NaN where it was out of view."""
        warped = warp_upsampled(self.samples, self.to_now)
        warped *= self.gain
        warped += self.offset
        return warped


class FrameHistory:
    """Stores one frame per ``interval_s``, all of the same size, while the camera motion is known or irrelevant.

    Args:
        interval_s: Interval between the stored frames in seconds of media time.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._snapshots: list[_Snapshot] = []
        self._seen = 0

    def is_comparable(self, frame: Image, ego: EgoMotion, pts: float) -> bool:
        """Whether a frame can be compared with the stored frames; True if there are none.

        It must have the same size, follow within ``2 * PAST`` intervals of the last stored frame, and its camera motion
        must be known unless all frames are featureless.
        """
        if not self._snapshots:
            return True
        last = self._snapshots[-1]
        if frame.shape != last.smoothed.shape or not 0 <= pts - last.pts <= 2 * PAST * self._interval_s:
            return False
        return ego.ok or (all(shot.featureless for shot in self._snapshots) and is_featureless(frame))

    def update(self, frame: Image, ego: EgoMotion, pts: float) -> list[Image]:
        """Process the next frame.

        Args:
            frame: (H, W) float32 in counts.
            ego: Camera motion since the previous frame.
            pts: Media time in seconds.

        Returns:
            Up to ``PAST`` past frames (H, W), oldest first, warped to the current view and brightness, NaN where they
            were out of view. Empty until one is old enough.
        """
        smoothed = smooth(frame)
        reference = Reference(smoothed)
        self._seen += 1
        for number, shot in enumerate(self._snapshots):
            shot.follow(ego)
            if (number + self._seen) % REGISTRATION_PERIOD == 0:  # recent ones too: drift is removed while small
                shot.register(reference)
        past = [shot for shot in self._snapshots if self._is_old(shot, pts)][-PAST:]
        if not past and self._snapshots and self._is_old(self._snapshots[0], pts, FIRST_SHARE):
            past = self._snapshots[:1]
        if not self._snapshots or self._is_old(self._snapshots[-1], pts):
            self._snapshots = [*self._snapshots[-PAST:], _Snapshot(frame, smoothed, pts)]
        return [shot.warped() for shot in past]

    def _is_old(self, shot: _Snapshot, pts: float, share: float = 1.0) -> bool:
        return pts - shot.pts >= share * self._interval_s - _CLOCK_S
