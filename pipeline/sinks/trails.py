"""Where tracks have been, in the coordinates of the present frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import TENTATIVE, Affine, Table


class Trails:
    """Past positions of the tracks in view, moved along with the camera so that they stick to the scene.

    Args:
        seconds: how far back trails reach.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._id = np.zeros(0, np.int64)
        self._pts = np.zeros(0)
        self._xy = np.zeros((0, 2))

    def update(self, tracks: Table, ego: Affine, pts: float) -> None:
        """Move the past by the camera's motion, forget what is old or gone, add the present.

        Args:
            tracks: ``TRACK_DTYPE``; tentative ones leave no trail.
            ego: maps the previous frame's coordinates to this frame's.
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
        """Positions (n, 2) of a track, oldest first, the present one last."""
        return np.asarray(self._xy[self._id == track_id])
