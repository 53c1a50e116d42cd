"""Merged detections and occlusion of targets that pass each other."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from pipeline.track.association import Flags, Indices
from pipeline.track.imm import CRUISE, IMMState
from pipeline.track.kalman import Array

MERGED_PX = 5.0
"""Distance in px within which two targets may give a single detection."""
MERGED_SIGMA = 4.0
"""Rms error in px of the centroid of a merged detection as the position of either target."""
MAX_OCCLUDED_S = 1.5
"""Longest occlusion in s that does not count as coasting."""
MIN_PASSING_SPEED = 6.0
"""Relative speed in px/s above which two tracks are passing targets and not parts of one target."""


def find_occlusions(
    predicted: IMMState, shown: Flags, was_occluded: Flags, rows: Indices, positions: Array
) -> tuple[Flags, Flags]:
    """Find detections that merge two targets, and tracks without a detection because another target occludes them.

    The centroid of a merged detection lies between the two targets. Used as an ordinary measurement it would pull a
    track off course, and the targets would swap ids when they separate. A track counts as occluded only if both targets
    cruise and pass each other, because the pieces of one large target jitter and move alike.

    Args:
        predicted: predicted states of n tracks.
        shown: (n,) True for confirmed and coasting tracks.
        was_occluded: (n,) True for tracks that were occluded before.
        rows: (k,) indices of the tracks with a detection.
        positions: (k, 2) positions of these detections in px.

    Returns:
        merged: (k,) mask of the detections.
        occluded: (n,) mask of the tracks.
    """
    merged, occluded, unmatched = np.zeros(len(rows), bool), np.zeros(len(shown), bool), shown.copy()
    unmatched[rows] = False
    seen, missed = np.flatnonzero(shown[rows]), np.flatnonzero(unmatched)
    if not len(seen) or not len(missed):
        return merged, occluded
    places = cKDTree(positions[seen]), cKDTree(predicted.centre()[missed, :2])
    near = places[0].sparse_distance_matrix(places[1], MERGED_PX, output_type="ndarray")
    taken, hidden = seen[near["i"]], missed[near["j"]]
    merged[taken] = True
    velocity, steady = predicted.mean[:, CRUISE, 2:], predicted.weight[:, CRUISE] > 0.5
    front = rows[taken]
    passing = (np.hypot(*(velocity[front] - velocity[hidden]).T) > MIN_PASSING_SPEED) | was_occluded[hidden]
    occluded[hidden[passing & steady[front] & steady[hidden]]] = True
    return merged, occluded
