"""What stands in the scene: where detections have been before, in coordinates that the camera's motion does not move.

A lamp post is detected in every frame and passes any M-of-N rule. It differs from a target in that it was there
before. So a place counts as *new* only if nothing was detected there some time ago although the place was in view;
two delays are asked, since a fast target leaves its place soon and a slow one late, while what stands is found in
both. The reference is the past, not a running mean: a mean would learn a slow target and lose it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.messages import Affine
from pipeline.track.kalman import Array

Positive = Annotated[float, Meta(gt=0)]
Flags = NDArray[np.bool_]
SNAPSHOT_S = 0.1


class ClutterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a track has shown that it is none of the things that stand in the scene.

    Attributes:
        enabled: False confirms whatever is seen M of N times, also what stands.
        reach_px: detections nearer than this are at the same place.
        new_hits: hits at new places that a track needs to be confirmed.
        few: as many tracks that have not had them are confirmed by M of N nonetheless: one point in an empty sky is
            worth a look even if it hovers, one tree top of twenty is not.
        recent_s, old_s: from and to what age, in seconds, the two references are.
    """

    enabled: bool = True
    reach_px: Positive = 4.0
    new_hits: Annotated[int, Meta(ge=1)] = 3
    few: Annotated[int, Meta(ge=0)] = 2
    recent_s: tuple[Positive, Positive] = (0.5, 1.0)
    old_s: tuple[Positive, Positive] = (1.5, 3.0)

    def __post_init__(self) -> None:
        for name, (low, high) in (("recent_s", self.recent_s), ("old_s", self.old_s)):
            if high - low < 2 * SNAPSHOT_S:
                raise ValueError(f"{name}: from {low} to {high} s is too short")


class ClutterMap:
    """Detections of the last seconds, carried along with the scene.

    Args:
        config: of the map.
        shape: (height, width) of the pictures.
    """

    def __init__(self, config: ClutterConfig, shape: tuple[int, int]) -> None:
        self._config, self._shape = config, shape
        self._blind = False
        self._clear()

    def _clear(self) -> None:
        self._age: Array = np.empty(0)
        self._to_now: Array = np.empty((0, 3, 3))
        self._points: list[Array] = []

    def move(self, dt: float, matrix: Affine, trusted: bool) -> None:
        """A frame has passed. Where the camera's motion is not known, the past cannot be compared with.

        Args:
            dt: seconds.
            matrix: previous frame's coordinates to this frame's.
            trusted: whether the matrix is.
        """
        if not trusted:
            self._blind = len(self._age) > 0 or self._blind
            self._clear()
            return
        self._age += dt
        self._to_now = np.array([[*matrix[:3]], [*matrix[3:]], [0.0, 0.0, 1.0]]) @ self._to_now
        young = int((self._age > self._config.old_s[1]).sum())
        self._age, self._to_now = self._age[young:], self._to_now[young:]
        del self._points[:young]

    def add(self, points: Array) -> None:
        """Remember where something was detected in this frame, (n, 2) px; frames that come too soon are passed over."""
        if len(self._age) and self._age[-1] < SNAPSHOT_S:
            return
        self._age = np.append(self._age, 0.0)
        self._to_now = np.concatenate([self._to_now, np.eye(3)[None]])
        self._points.append(points)

    def new(self, points: Array) -> Flags:
        """Whether each of the points (n, 2) is at a place where nothing was before.

        Before the first reference is old enough nothing is new; after the camera's motion was lost, where there is
        nothing to compare with, everything is.
        """
        found = np.zeros(len(points), bool)
        asked = False
        for low, high in (self._config.recent_s, self._config.old_s):
            members = np.flatnonzero((self._age >= low) & (self._age <= high))
            if len(members) and len(points):
                asked = True
                found |= self._empty(members, points)
        self._blind &= not asked
        return found | self._blind

    def _empty(self, members: NDArray[np.intp], points: Array) -> Flags:
        """Points in view of all the snapshots and away from all their detections."""
        ahead = np.concatenate([points, np.ones((len(points), 1))], axis=1)
        back = np.einsum("kij,nj->kni", np.linalg.inv(self._to_now[members]), ahead)[..., :2]
        height, width = self._shape
        in_view = ((back >= -0.5) & (back <= (width - 0.5, height - 0.5))).all(axis=(0, 2))
        places = [self._points[k] @ self._to_now[k, :2, :2].T + self._to_now[k, :2, 2] for k in members]
        stood = np.concatenate(places)
        if not len(stood):
            return np.asarray(in_view)
        distance, _ = cKDTree(stood).query(points)
        return np.asarray(in_view & (distance > self._config.reach_px))
