"""Map of stationary clutter: positions of earlier detections in scene coordinates, compensated for ego-motion.

A lamp post is detected in every frame, or in every tenth, and sooner or later passes any M-of-N rule. It differs from a
target in that it was there before. So a place is *familiar* if something was detected there some time ago, and *new* if
nothing was detected although the place was in view. The reference consists of the past detections themselves. A running
mean would learn a slow target and lose it.

Artefacts of the sensor, such as a dead pixel or burnt-in text, move through the scene with the camera and would be new
everywhere. They are recognised by earlier detections at the same pixel while the camera pointed elsewhere.
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
SNAPSHOT_S = 0.1  # duration of a snapshot, in which each place is stored once
SAME_PX = 1.0  # detections within this distance are stored once per snapshot
SENSOR_PX = 0.75
"""Distance in px within which detections are at the same sensor pixel, which is rare for what moves with the scene."""
SENSOR_HITS = 3
"""Earlier detections at a pixel, in different snapshots, from which it is taken for a sensor artefact."""
MANY = 500
"""Number of points and places from which a grid preselects neighbours."""
GRID = 320
"""Largest number of grid cells along each side."""
MAX_POINTS = 10_000
"""Largest number of stored detections. If a picture is full of them, the memory reaches less far back."""


class ClutterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions under which a track is not stationary clutter.

    Attributes:
        enabled: if False, M of N hits confirm a track even at a familiar place.
        reach_px: detections within this distance in px are at the same place.
        new_hits: hits at new places that a track needs to be confirmed.
        few: while there are at most this many tentative tracks without these hits, those with no hit at a familiar
            place are confirmed by M of N alone.
        recent_s, old_s: (minimum, maximum) age in seconds of the two reference periods. The recent one is used where
            the older one does not exist yet or did not have the place in view.
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
    """Positions of recent detections (by default of the last 30 s), in scene and in sensor coordinates.

    Args:
        config: settings of the map.
        shape: (height, width) of the pictures in px.
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
        """Move the map into the coordinates of a new frame. Without trusted ego-motion the map is cleared.

        Args:
            dt: time since the previous frame in s.
            matrix: affine transform from the previous frame's coordinates to this frame's.
            trusted: whether the matrix can be trusted.
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
        """Remove detections near these points (n, 2) in px, in the scene and on the sensor, since they are targets."""
        kept = ~(_near(points, self._places, self._config.reach_px) | _near(points, self._pixels, SENSOR_PX))
        self._age, self._places, self._pixels = self._age[kept], self._places[kept], self._pixels[kept]

    def add(self, points: Array) -> None:
        """Store detections of this frame, (n, 2) in px; each place is stored once per snapshot."""
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
        if full:  # an incomplete snapshot cannot show that a place was empty
            whole = self._pose_age < self._age[0]
            self._pose_age, self._to_now = self._pose_age[whole], self._to_now[whole]

    def classify(self, points: Array) -> tuple[Flags, Flags]:
        """Return whether each of the points (n, 2) is at a new place, and whether at a familiar one.

        A place is neither while no reference is old enough, or if it was not in view. After the ego-motion was lost,
        all places except sensor artefacts are new until there is a reference again.
        """
        new, familiar = np.zeros((2, len(points)), bool)
        for low, high in (self._config.old_s, self._config.recent_s):
            poses = np.flatnonzero((self._pose_age >= low) & (self._pose_age <= high))
            if not len(poses):
                continue
            self._blind = False
            occupied = _near(self._places[(self._age >= low) & (self._age <= high)], points, self._config.reach_px)
            undecided = ~(new | familiar)
            familiar |= undecided & occupied
            new |= undecided & ~occupied & self._in_view(poses[0], points)
        sensor = self._on_sensor(points)
        return (new | self._blind) & ~sensor, familiar | sensor

    def known(self) -> tuple[int, int]:
        """Count places of stationary clutter in the picture, in the scene and on the sensor; near ones count once."""
        fixed = self._on_sensor(self._pixels)
        old = ~fixed & (self._age >= self._config.recent_s[0])
        return self._count(self._places[old]), self._count(self._pixels[fixed])

    def _count(self, places: Array) -> int:
        """Count the connected groups that the places (n, 2) in the picture form on a grid of half the reach."""
        side = self._config.reach_px / 2
        height, width = (math.ceil(length / side) for length in self._shape)
        column, row = np.floor((places + 0.5) / side).T.astype(int)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        taken = np.zeros((height, width), np.uint8)
        taken[row[inside], column[inside]] = 1
        return int(cv2.connectedComponents(taken, connectivity=8)[0]) - 1

    def _on_sensor(self, points: Array) -> Flags:
        """Return a mask of points at a pixel that had detections while another part of the scene was there."""
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
    """Return whether each of the points (n, 2) is within reach of one of the places (m, 2)."""
    near = np.zeros(len(points), bool)
    if not len(places) or not len(points):
        return near
    close = np.arange(len(points))
    if len(places) + len(points) >= MANY:
        places = places[_beside(points, places, reach_px)]
        if not len(places):
            return near
        close = np.flatnonzero(_beside(places, points, reach_px))
    # The tree is queried only once, so the time to build it matters most.
    tree = cKDTree(places, leafsize=64, balanced_tree=False, compact_nodes=False)
    distance, _ = tree.query(points[close], distance_upper_bound=np.nextafter(reach_px, np.inf))
    near[close] = distance <= reach_px
    return near


def _beside(places: Array, points: Array, reach_px: float) -> Flags:
    """Return a mask of points (n, 2) in or next to a grid cell with a place: all within reach, and few others."""
    # Column by column, since numpy takes many times as long for both at once.
    least = np.array([column.min() for column in points.T]) - 2 * reach_px
    most = np.array([column.max() for column in points.T]) + 2 * reach_px
    side = max(reach_px, float((most - least).max()) / GRID)
    (column, row), (x, y) = ((places - least) / side).T, ((points - least) / side).T.astype(np.intp)
    inside = (column >= 0) & (column <= GRID) & (row >= 0) & (row <= GRID)
    taken = np.zeros((GRID + 2, GRID + 2), np.uint8)
    taken[row[inside].astype(np.intp), column[inside].astype(np.intp)] = 1
    return np.asarray(cv2.dilate(taken, np.ones((3, 3), np.uint8))[y, x] > 0)
