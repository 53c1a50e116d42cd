"""What stands in the scene: where detections have been before, in coordinates that the camera's motion does not move.

A lamp post is detected in every frame or in every tenth, and passes any M-of-N rule sooner or later. It differs from a
target in that it was there before. So a place is *familiar* if something was detected there more than a while ago,
and *new* if nothing was although the place was in view. The reference is the past itself, not a running mean: a mean
would learn a slow target and lose it.

What stands on the sensor, a dead pixel or burnt-in text, moves through the scene with the camera and would be new
everywhere. It is told by having been at the very same pixel when the camera looked elsewhere.
"""

from __future__ import annotations

import math
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.messages import Affine
from pipeline.track.kalman import Array

Positive = Annotated[float, Meta(gt=0)]
Flags = NDArray[np.bool_]
SNAPSHOT_S = 0.1
SAME_PX = 1.0
SENSOR_PX = 0.75
"""Detections nearer than this are at the same pixel of the sensor: what moves with the scene hardly ever is."""
SENSOR_HITS = 3
"""As often must something have been at that pixel, in different tenths of a second, to stand on the sensor."""
MANY = 500
"""Points and places that are worth a grid first."""
GRID = 320
"""Squares along each side of the picture, at most."""
MAX_POINTS = 10_000
"""Most detections that are remembered; in a picture full of them the memory is shorter, and what was before unknown."""


class ClutterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a track has shown that it is none of the things that stand in the scene.

    Attributes:
        enabled: False confirms whatever is seen M of N times, also what stands.
        reach_px: detections nearer than this are at the same place.
        new_hits: hits at new places that a track needs to be confirmed.
        few: as many tracks that have not had them are confirmed by M of N nonetheless, unless their place is familiar.
        recent_s, old_s: from and to what age, in seconds, the two references are; the recent one serves where the
            older one is not yet there or has not had the place in view.
    """

    enabled: bool = True
    reach_px: Positive = 4.0
    new_hits: Annotated[int, Meta(ge=1)] = 3
    few: Annotated[int, Meta(ge=0)] = 6
    recent_s: tuple[Positive, Positive] = (0.5, 1.0)
    old_s: tuple[Positive, Positive] = (1.5, 30.0)

    def __post_init__(self) -> None:
        for name, (low, high) in (("recent_s", self.recent_s), ("old_s", self.old_s)):
            if high - low < 2 * SNAPSHOT_S:
                raise ValueError(f"{name}: from {low} to {high} s is too short")


class ClutterMap:
    """Detections of the last half minute, carried along with the scene.

    Args:
        config: of the map.
        shape: (height, width) of the pictures.
    """

    def __init__(self, config: ClutterConfig, shape: tuple[int, int]) -> None:
        self._config, self._shape = config, shape
        self._blind = False
        self._clear()

    def _clear(self) -> None:
        self._pose_age: Array = np.empty(0)
        self._to_now: Array = np.empty((0, 3, 3))
        self._age: Array = np.empty(0)
        self._places: Array = np.empty((0, 2))
        self._pixels: Array = np.empty((0, 2))

    def move(self, dt: float, matrix: Affine, trusted: bool) -> None:
        """A frame has passed. Where the camera's motion is not known, the past cannot be compared with.

        Args:
            dt: seconds.
            matrix: previous frame's coordinates to this frame's.
            trusted: whether the matrix is.
        """
        if not trusted:
            self._blind = len(self._pose_age) > 0 or self._blind
            self._clear()
            return
        step = np.array([[*matrix[:3]], [*matrix[3:]], [0.0, 0.0, 1.0]])
        poses, points = self._pose_age + dt <= self._horizon, self._age + dt <= self._horizon
        self._pose_age, self._to_now = self._pose_age[poses] + dt, step @ self._to_now[poses]
        self._age = self._age[points] + dt
        self._places = self._places[points] @ step[:2, :2].T + step[:2, 2]
        self._pixels = self._pixels[points]

    def forget(self, points: Array) -> None:
        """What was detected at these places and at these pixels of the sensor, (n, 2) px, was no clutter."""
        kept = ~(_near(points, self._places, self._config.reach_px) | _near(points, self._pixels, SENSOR_PX))
        self._age, self._places, self._pixels = self._age[kept], self._places[kept], self._pixels[kept]

    def add(self, points: Array) -> None:
        """Remember where something was detected in this frame, (n, 2) px, once for each tenth of a second."""
        begin = not len(self._pose_age) or bool(self._pose_age[-1] >= SNAPSHOT_S)
        if begin:
            self._pose_age = np.append(self._pose_age, 0.0)
            self._to_now = np.concatenate([self._to_now, np.eye(3)[None]])
        latest = self._places[self._age <= self._pose_age[-1]]
        points = points[~_near(latest, points, SAME_PX)]
        full = len(self._places) + len(points) > MAX_POINTS
        self._places = np.concatenate([self._places, points])[-MAX_POINTS:]
        self._pixels = np.concatenate([self._pixels, points])[-MAX_POINTS:]
        self._age = np.concatenate([self._age, np.zeros(len(points))])[-MAX_POINTS:]
        if full:  # of a time from which not all is remembered nobody can say that nothing was there
            whole = self._pose_age < self._age[0]
            self._pose_age, self._to_now = self._pose_age[whole], self._to_now[whole]

    def compare(self, points: Array) -> tuple[Flags, Flags]:
        """Whether each of the points (n, 2) is at a new place, and whether at a familiar one.

        Before the first reference is old enough places are neither, as are those that were not in view. After the
        camera's motion was lost all are new until there is a reference again.
        """
        new, familiar = np.zeros((2, len(points)), bool)
        for low, high in (self._config.old_s, self._config.recent_s):
            poses = np.flatnonzero((self._pose_age >= low) & (self._pose_age <= high))
            if not len(poses):
                continue
            self._blind = False
            stood = _near(self._places[(self._age >= low) & (self._age <= high)], points, self._config.reach_px)
            undecided = ~(new | familiar)
            familiar |= undecided & stood
            new |= undecided & ~stood & self._in_view(poses[0], points)
        sensor = self._on_sensor(points)
        return (new | self._blind) & ~sensor, familiar | sensor

    def known(self) -> tuple[int, int]:
        """How many places in the picture are known: that stand in the scene, and on the sensor; close ones are one."""
        fixed = self._on_sensor(self._pixels)
        old = ~fixed & (self._age >= self._config.recent_s[0])
        return self._count(self._places[old]), self._count(self._pixels[fixed])

    def _count(self, places: Array) -> int:
        """How many groups the places in the picture (n, 2) form on a grid of half the reach."""
        side = self._config.reach_px / 2
        height, width = (math.ceil(length / side) for length in self._shape)
        column, row = np.floor((places + 0.5) / side).T.astype(int)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        taken = np.zeros((height, width), np.uint8)
        taken[row[inside], column[inside]] = 1
        return int(cv2.connectedComponents(taken, connectivity=8)[0]) - 1

    def _on_sensor(self, points: Array) -> Flags:
        """Points at a pixel where something was detected while another part of the scene was there."""
        moved = np.hypot(*(self._places - self._pixels).T) > 2 * self._config.reach_px
        if not len(points) or not moved.any():
            return np.zeros(len(points), bool)
        before = cKDTree(self._pixels[moved]).query_ball_point(points, SENSOR_PX, return_length=True)
        return np.asarray(before >= SENSOR_HITS)

    @property
    def _horizon(self) -> float:
        return max(self._config.old_s[1], self._config.recent_s[1])

    def _in_view(self, pose: np.intp, points: Array) -> Flags:
        back = np.linalg.inv(self._to_now[pose])
        then = points @ back[:2, :2].T + back[:2, 2]
        height, width = self._shape
        return np.asarray(((then >= -0.5) & (then <= (width - 0.5, height - 0.5))).all(axis=1))


def _near(places: Array, points: Array, reach_px: float) -> Flags:
    """Whether each of the points (n, 2) is within reach of one of the places (m, 2)."""
    near = np.zeros(len(points), bool)
    if not len(places) or not len(points):
        return near
    close = np.arange(len(points))
    if len(places) + len(points) >= MANY:
        places = places[_beside(points, places, reach_px)]
        if not len(places):
            return near
        close = np.flatnonzero(_beside(places, points, reach_px))
    # The tree is asked once and thrown away: what counts is how fast it is built.
    tree = cKDTree(places, leafsize=64, balanced_tree=False, compact_nodes=False)
    distance, _ = tree.query(points[close], distance_upper_bound=np.nextafter(reach_px, np.inf))
    near[close] = distance <= reach_px
    return near


def _beside(places: Array, points: Array, reach_px: float) -> Flags:
    """Points (n, 2) in a square of a grid, or next to one, that holds a place: all near one, few others."""
    # One column after the other: numpy takes many times as long for both at once.
    least = np.array([column.min() for column in points.T]) - 2 * reach_px
    most = np.array([column.max() for column in points.T]) + 2 * reach_px
    side = max(reach_px, float((most - least).max()) / GRID)
    (column, row), (x, y) = ((places - least) / side).T, ((points - least) / side).T.astype(np.intp)
    inside = (column >= 0) & (column <= GRID) & (row >= 0) & (row <= GRID)
    taken = np.zeros((GRID + 2, GRID + 2), np.uint8)
    taken[row[inside].astype(np.intp), column[inside].astype(np.intp)] = 1
    return np.asarray(cv2.dilate(taken, np.ones((3, 3), np.uint8))[y, x] > 0)
