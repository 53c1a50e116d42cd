"""How many detections come by chance, where glitter or branches are and where they are not."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.carry import carry
from pipeline.messages import Affine
from pipeline.track.kalman import Array

Ids = NDArray[np.int64]
NOBODY = -1
RADIUS = 24.0
"""Of the surroundings of a place, px."""
FRAMES = 25
"""How long a detection is remembered."""
MEMORY = 5
"""Frames of the running mean over the whole picture."""
LEAST = 0.5
"""Detections a frame that the whole picture is given at least."""


class ChanceDensity:
    """Chance detections per px^2 around a place, in coordinates of the scene.

    What the surroundings have had in the last frames is added to what the whole picture has, which counts for as much
    as one detection: where nothing has been seen, chance is rarer than there, but not impossible.

    Args:
        shape: (height, width) of the pictures, px.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._sides = np.array(shape[::-1], float)
        self._mean: float | None = None
        self._places, self._owners = np.empty((0, 2)), np.empty(0, np.int64)
        self._counts: list[int] = []
        self._numbers = np.empty(0, np.int64)

    def move(self, matrix: Affine) -> None:
        """A frame has passed, in which the camera moved so."""
        self._places = carry(self._places, matrix)

    def see(self, places: Array, chance: NDArray[np.bool_], owners: Ids) -> None:
        """Take in the detections of a frame.

        Args:
            places: (n, 2), px.
            chance: (n,), those that belong to no known target.
            owners: (n,), tracks that hope to be one and have taken them, or ``NOBODY``.
        """
        count = float(np.count_nonzero(chance))
        self._mean = count if self._mean is None else self._mean + (count - self._mean) / MEMORY
        self._numbers = np.flatnonzero(chance)
        gone = self._counts[0] if len(self._counts) == FRAMES else 0
        self._counts = [*self._counts[1 - FRAMES :], len(self._numbers)]
        self._places = np.concatenate([self._places[gone:], places[chance]])
        self._owners = np.concatenate([self._owners[gone:], owners[chance]])

    def give(self, numbers: Ids, owners: Ids) -> None:
        """Say which tracks have begun with chance detections of the frame seen last, by their numbers there."""
        last = len(self._owners) - self._counts[-1]
        self._owners[last + np.searchsorted(self._numbers, numbers)] = owners

    def rename(self, ids: Ids, others: Ids) -> None:
        """Say that tracks bear other numbers from now on, so that what they have taken stays theirs."""
        for one, other in zip(ids, others, strict=True):
            if one != other:
                self._owners[self._owners == one] = other

    def at(self, places: Array, ids: Ids) -> Array:
        """The density that detections are held against.

        Args:
            places: (n, 2) of the detections, px.
            ids: (n,) of the tracks that they are for; what a track has taken before is not held against it.

        Returns:
            (n,), per px^2, above 0.
        """
        overall = max(self._mean or 0.0, LEAST) / self._sides.prod()
        seen = self._places
        around = cKDTree(seen).query_ball_point(places, RADIUS, return_length=True) if len(seen) else 0
        low, high = np.maximum(places - RADIUS, 0), np.minimum(places + RADIUS, self._sides)
        inside = np.maximum(high - low, 1.0).prod(axis=1) / (2 * RADIUS) ** 2
        area = len(self._counts) * inside * math.pi * RADIUS**2
        return np.asarray((around - _own(seen, self._owners, places, ids) + 1) / (area + 1 / overall))


def _own(seen: Array, owners: Ids, places: Array, ids: Ids) -> Ids:
    """How many of those around each place (n, 2) its track has taken itself."""
    if not len(ids):
        return np.zeros(0, np.int64)
    by_id = np.argsort(ids)
    row = by_id[np.minimum(np.searchsorted(ids, owners, sorter=by_id), len(ids) - 1)]
    own = (ids[row] == owners) & (np.hypot(*(seen - places[row]).T) <= RADIUS)
    return np.bincount(row[own], minlength=len(ids))
