"""Past track positions in the coordinates of the current frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import TENTATIVE, Affine, Table


class Trails:
    """Past positions of the current tracks, compensated for ego-motion so that they stay fixed to the scene.

    Args:
        seconds: length of the trails in seconds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._id = np.zeros(0, np.int64)
        self._pts = np.zeros(0)
        self._xy = np.zeros((0, 2))

    def update(self, tracks: Table, ego: Affine, pts: float) -> None:
        """Move past positions by the ego-motion, drop old ones and those of ended tracks, add the current ones.

        Args:
            tracks: rows of ``TRACK_DTYPE``; tentative tracks leave no trail.
            ego: affine transform from coordinates of the previous frame to those of this frame.
            pts: media time of the frame in seconds.
        """
        a, b, tx, c, d, ty = ego
        moved = self._xy @ np.array([[a, c], [b, d]]) + (tx, ty)
        tracks = tracks[tracks["state"] != TENTATIVE]
        keep = np.isin(self._id, tracks["id"]) & (self._pts >= pts - self._seconds)
        self._id = np.concatenate([self._id[keep], tracks["id"]])
        self._pts = np.concatenate([self._pts[keep], np.full(len(tracks), pts)])
        self._xy = np.concatenate([moved[keep], np.stack([tracks["x"], tracks["y"]], axis=1)])

    def of(self, track_id: int) -> NDArray[np.float64]:
        """Return the positions (n, 2) of a track, oldest first, ending with the current one."""
        return np.asarray(self._xy[self._id == track_id])
