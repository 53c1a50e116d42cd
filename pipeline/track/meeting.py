"""Targets that meet: for a while two of them are one blob, and one detection."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from pipeline.track.association import Flags, Indices
from pipeline.track.belief import CRUISE, Belief
from pipeline.track.kalman import Array

MERGED_PX = 5.0
"""Targets as near as this are one blob."""
MERGED_SIGMA = 4.0
"""Rms error of such a blob's centroid as the place of either target, px."""
BEHIND_S = 1.5
"""So long may a target be behind another and count as seen."""
PASSING = 6.0
"""Relative speed from which two tracks are two targets that pass, not parts of one, px/s."""


def meet(predicted: Belief, shown: Flags, waiting: Flags, rows: Indices, positions: Array) -> tuple[Flags, Flags]:
    """Which detections are two targets in one, and which tracks got none because they are behind another target.

    What lies between two targets is the place of neither: taken for one, it drags a track off its course, and the two
    have changed their numbers when they part. And who is behind another is not lost. That goes for targets that cruise
    and pass each other alone: pieces of one large target jitter and move alike.

    Args:
        predicted: n tracks.
        shown: (n,) those that are confirmed.
        waiting: (n,) those that were behind another already.
        rows: (k,) tracks with a detection.
        positions: (k, 2) their detections, px.

    Returns:
        (k,) of the detections, (n,) of the tracks.
    """
    merged, behind, alone = np.zeros(len(rows), bool), np.zeros(len(shown), bool), shown.copy()
    alone[rows] = False
    seen, without = np.flatnonzero(shown[rows]), np.flatnonzero(alone)
    if not len(seen) or not len(without):
        return merged, behind
    places = cKDTree(positions[seen]), cKDTree(predicted.centre()[without, :2])
    near = places[0].sparse_distance_matrix(places[1], MERGED_PX, output_type="ndarray")
    taken, hidden = seen[near["i"]], without[near["j"]]
    merged[taken] = True
    velocity, steady = predicted.mean[:, CRUISE, 2:], predicted.weight[:, CRUISE] > 0.5
    front = rows[taken]
    passing = (np.hypot(*(velocity[front] - velocity[hidden]).T) > PASSING) | waiting[hidden]
    behind[hidden[passing & steady[front] & steady[hidden]]] = True
    return merged, behind
