"""Local density of false alarms, which is higher around glitter or branches than elsewhere."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.carry import carry
from pipeline.messages import Affine
from pipeline.track.kalman import Array

Ids = NDArray[np.int64]
NO_TRACK = -1
RADIUS = 24.0
"""Radius in px of the neighbourhood in which false alarms are counted."""
FRAMES = 25
"""Number of frames for which a false alarm is remembered."""
MEAN_FRAMES = 5
"""Time constant in frames of the running mean over the whole picture."""
MIN_PER_FRAME = 0.5
"""Lower bound of false alarms per frame in the whole picture."""


class FalseAlarmDensity:
    """Estimate of false alarms per px^2 and frame around a position, in scene coordinates.

    The count of the last frames in the neighbourhood is combined with the mean density of the whole picture, which
    acts as a prior with the weight of one detection. Where nothing was detected the density is therefore low, but not
    zero.

    Args:
        shape: (height, width) of the pictures in px.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._sides = np.array(shape[::-1], float)
        self._mean: float | None = None
        self._places, self._owners = np.empty((0, 2)), np.empty(0, np.int64)
        self._counts: list[int] = []
        self._numbers = np.empty(0, np.int64)

    def move(self, matrix: Affine) -> None:
        """Transform the remembered positions into the coordinates of a new frame."""
        self._places = carry(self._places, matrix)

    def update(self, places: Array, is_false_alarm: NDArray[np.bool_], owners: Ids) -> None:
        """Add the detections of a frame.

        Args:
            places: (n, 2) positions in px.
            is_false_alarm: (n,) True for presumed false alarms, which belong to no confirmed track.
            owners: (n,) ids of the tracks they were associated with, ``NO_TRACK`` for none.
        """
        count = float(np.count_nonzero(is_false_alarm))
        self._mean = count if self._mean is None else self._mean + (count - self._mean) / MEAN_FRAMES
        self._numbers = np.flatnonzero(is_false_alarm)
        gone = self._counts[0] if len(self._counts) == FRAMES else 0
        self._counts = [*self._counts[1 - FRAMES :], len(self._numbers)]
        self._places = np.concatenate([self._places[gone:], places[is_false_alarm]])
        self._owners = np.concatenate([self._owners[gone:], owners[is_false_alarm]])

    def assign_owners(self, numbers: Ids, owners: Ids) -> None:
        """Assign presumed false alarms of the latest frame, by their indices there, to the tracks they started."""
        last = len(self._owners) - self._counts[-1]
        self._owners[last + np.searchsorted(self._numbers, numbers)] = owners

    def rename(self, ids: Ids, others: Ids) -> None:
        """Replace the track ids ``ids`` by ``others``, so that these tracks keep their detections."""
        for one, other in zip(ids, others, strict=True):
            if one != other:
                self._owners[self._owners == one] = other

    def at(self, places: Array, ids: Ids) -> Array:
        """Return the false-alarm density at detections.

        Args:
            places: (n, 2) positions of the detections in px.
            ids: (n,) ids of the tracks they are associated with; a track's own earlier detections do not count.

        Returns:
            (n,) densities per px^2 and frame, above 0.
        """
        overall = max(self._mean or 0.0, MIN_PER_FRAME) / self._sides.prod()
        seen = self._places
        around = cKDTree(seen).query_ball_point(places, RADIUS, return_length=True) if len(seen) else 0
        low, high = np.maximum(places - RADIUS, 0), np.minimum(places + RADIUS, self._sides)
        inside = np.maximum(high - low, 1.0).prod(axis=1) / (2 * RADIUS) ** 2
        area = len(self._counts) * inside * math.pi * RADIUS**2
        return np.asarray((around - _own(seen, self._owners, places, ids) + 1) / (area + 1 / overall))


def _own(seen: Array, owners: Ids, places: Array, ids: Ids) -> Ids:
    """Count the detections around each position (n, 2) that belong to the track given for it."""
    if not len(ids):
        return np.zeros(0, np.int64)
    by_id = np.argsort(ids)
    row = by_id[np.minimum(np.searchsorted(ids, owners, sorter=by_id), len(ids) - 1)]
    own = (ids[row] == owners) & (np.hypot(*(seen - places[row]).T) <= RADIUS)
    return np.bincount(row[own], minlength=len(ids))
