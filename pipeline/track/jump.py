"""Association across jumps of a target, caused by jerks of a hand-held camera that a featureless sky does not reveal.

A jump exceeds any reasonable gate, and a gate wide enough would accept every detection nearby. A missed track and a
free detection are paired if both are large enough to compare their appearance, look alike, and neither has another
candidate. Point targets have no appearance to compare. A tentative track is taken for a lost point target if it began
in the frame in which the target disappeared, was detected in every frame since while the target was not, and is the
only candidate.
"""

from __future__ import annotations

import numpy as np

from pipeline.messages import TENTATIVE, Table
from pipeline.track.appearance_cost import LARGE, appearance_cost
from pipeline.track.association import Indices
from pipeline.track.kalman import Array

MAX_JUMP_SHARE = 1 / 10
"""Longest jump from one frame to the next, as a fraction of the longer picture side."""
MAX_APPEARANCE_COST = 9.0
"""Largest ``appearance_cost`` at which a track and a detection may be the same target."""
STAY_FRAMES = 3
"""Consecutive frames in which a point target must be detected at its new place and not at its old one."""
STAY_EVIDENCE = 10.0
"""Evidence in nats that the new track needs by then; widespread flicker does not reach it."""


def find_jumps(
    tracks: Table, places: Array, missed: Indices, detections: Table, free: Indices, reach_px: float
) -> tuple[Indices, Indices]:
    """Return the pairs of a missed track and a free detection that are each other's only candidate.

    Args:
        tracks: (n,) rows of ``TRACK_DTYPE``, as of the previous frame.
        places: (n, 2) predicted positions in this frame in px.
        missed: indices of confirmed tracks with a detection in the previous frame but not in this one.
        detections: (m,) rows of ``DETECTION_DTYPE``.
        free: indices of detections without a track.
        reach_px: longest jump in px.

    Returns:
        indices into ``tracks`` and into ``detections``.
    """
    missed, free = missed[tracks["area"][missed] >= LARGE], free[detections["area"][free] >= LARGE]
    missed_tracks, free_detections = tracks[missed][:, None], detections[free]
    distance = np.hypot(
        *(places[missed].T[..., None] - np.stack([free_detections["x"], free_detections["y"]])[:, None])
    )
    fits = (distance <= reach_px) & (appearance_cost(missed_tracks, free_detections) <= MAX_APPEARANCE_COST)
    unique = fits & (fits.sum(axis=1, keepdims=True) == 1) & (fits.sum(axis=0) == 1)
    rows, columns = np.nonzero(unique)
    return missed[rows], free[columns]


def jump_successors(tracks: Table, life: Table, places: Array, dt: float, reach_px: float) -> tuple[Indices, Indices]:
    """Return the pairs of a lost track and the tentative track that continues it after a jump.

    Args:
        tracks: (n,) rows of ``TRACK_DTYPE``, after this frame.
        life: (n,) rows of ``lifecycle.LIFE_DTYPE``.
        places: (n, 2) current positions in px.
        dt: time since the previous frame in s.
        reach_px: longest jump in px.

    Returns:
        indices of the confirmed or coasting tracks, and of the tentative tracks that continue them.
    """
    young = (tracks["state"] == TENTATIVE) & (life["age"] == STAY_FRAMES) & (life["hits"] == STAY_FRAMES)
    new = np.flatnonzero(young)
    old = np.flatnonzero((tracks["state"] != TENTATIVE) & (life["unseen_s"] > 0))
    distance = np.linalg.norm(places[old][:, None] - places[new], axis=2)
    delay_s = life["unseen_s"][old][:, None] - life["lived_s"][new]
    fits = (distance <= reach_px) & (delay_s > 0) & (delay_s < 1.5 * dt)
    fits &= tracks["snr"][old][:, None] * tracks["snr"][new] > 0
    unique = fits & (fits.sum(axis=1, keepdims=True) == 1) & (fits.sum(axis=0) == 1)
    rows, columns = np.nonzero(unique & (life["evidence"][new] >= STAY_EVIDENCE))
    return old[rows], new[columns]
