"""The frames of a source's last second or so, and where each of them lies in the present one."""

from __future__ import annotations

import numpy as np

from pipeline.messages import EgoMotion
from pipeline.moving.dense import dense, laid
from pipeline.moving.residual import PAST, is_featureless
from pipeline.preprocess.registration import Image, Matrix, Reference, smooth

FIRST_SHARE = 1 / 3
"""At the start there is no frame as old as the others will be: one of this share of their age has to do."""
TURNS = 2
"""Of this many frames, a past frame is registered with one; with every one is no better, and with one of four worse."""
_CLOCK_S = 1e-3


class _Snapshot:
    def __init__(self, frame: Image, smoothed: Image, pts: float) -> None:
        self.samples, self.smoothed, self.pts = dense(frame), smoothed, pts
        self.featureless = is_featureless(frame)
        self.to_now: Matrix = np.eye(3)
        self.gain, self.offset = 1.0, 0.0

    def follow(self, ego: EgoMotion) -> None:
        """A frame has passed."""
        self.to_now = np.vstack([np.reshape(ego.matrix, (2, 3)), [0.0, 0.0, 1.0]]) @ self.to_now

    def register(self, now: Reference) -> None:
        """Correct where the frame lies now, and how bright it is beside the present one."""
        self.to_now, self.gain, self.offset = now.register(self.smoothed, self.to_now)

    def warped(self) -> Image:
        """The frame as it would look now, NaN where it was out of view."""
        warped = laid(self.samples, self.to_now)
        warped *= self.gain
        warped += self.offset
        return warped


class Past:
    """Keeps a frame each ``interval_s``, of one size, as long as the camera's motion is known or makes no difference.

    Args:
        interval_s: by which the frames that are compared are apart, media time.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._snapshots: list[_Snapshot] = []
        self._seen = 0

    def is_followed_by(self, frame: Image, ego: EgoMotion, pts: float) -> bool:
        """Whether a frame of this size, motion and time may be held against those before; true where there are none."""
        if not self._snapshots:
            return True
        last = self._snapshots[-1]
        if frame.shape != last.smoothed.shape or not 0 < pts - last.pts <= 2 * PAST * self._interval_s:
            return False
        return ego.ok or (all(shot.featureless for shot in self._snapshots) and is_featureless(frame))

    def see(self, frame: Image, ego: EgoMotion, pts: float) -> list[Image]:
        """Take in the next frame.

        Args:
            frame: (H, W), counts.
            ego: motion since the last frame.
            pts: media time in seconds.

        Returns:
            up to ``PAST`` frames before it, oldest first, as they would look now, NaN where they were out of view;
            none until one is old enough.
        """
        smoothed = smooth(frame)
        reference = Reference(smoothed)
        self._seen += 1
        for number, shot in enumerate(self._snapshots):
            shot.follow(ego)
            if (number + self._seen) % TURNS == 0:  # the young ones as well: drift is taken out while it is small
                shot.register(reference)
        past = [shot for shot in self._snapshots if self._is_old(shot, pts)][-PAST:]
        if not past and self._snapshots and self._is_old(self._snapshots[0], pts, FIRST_SHARE):
            past = self._snapshots[:1]
        if not self._snapshots or self._is_old(self._snapshots[-1], pts):
            self._snapshots = [*self._snapshots[-PAST:], _Snapshot(frame, smoothed, pts)]
        return [shot.warped() for shot in past]

    def _is_old(self, shot: _Snapshot, pts: float, share: float = 1.0) -> bool:
        return pts - shot.pts >= share * self._interval_s - _CLOCK_S
