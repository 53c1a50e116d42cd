"""Two tracks of one target, as of a large one whose parts were once detected separately.

In most frames there is one detection for both, and one of the tracks ends. If that is the older one, the other
continues it, so that the target keeps its id.
"""

from __future__ import annotations

import numpy as np

from pipeline.messages import TENTATIVE, Table
from pipeline.track.association import Flags, Indices
from pipeline.track.kalman import Array

NEAR_PX = 5.0
"""Largest distance between two tracks of one target. Two targets this close could not be told apart anyway."""
SLOW_PX_S = 10.0
"""Largest difference of their velocities. Targets that meet by chance differ by more."""


def find_successors(tracks: Table, unseen_s: Array, mean: Array, ending: Flags) -> tuple[Indices, Indices]:
    """Return the pairs of an ending track and the one other track that continues it.

    Args:
        tracks: (n,) rows of ``TRACK_DTYPE``.
        unseen_s: (n,) times since the last detection in s.
        mean: (n, 4) positions in px and velocities in px/s.
        ending: (n,) tracks that are about to end.

    Returns:
        indices of the ending tracks, and of the younger confirmed tracks that continue them.
    """
    confirmed = tracks["state"] != TENTATIVE
    old, new = np.flatnonzero(confirmed & ending), np.flatnonzero(confirmed & ~ending)
    apart = mean[old][:, None] - mean[new]
    fits = (np.hypot(*apart[..., :2].T) <= NEAR_PX).T & (np.hypot(*apart[..., 2:].T) <= SLOW_PX_S).T
    fits &= (tracks["id"][new] > tracks["id"][old][:, None]) & (unseen_s[new] < unseen_s[old][:, None])
    rows, columns = np.nonzero(fits & (fits.sum(axis=1, keepdims=True) == 1) & (fits.sum(axis=0) == 1))
    return old[rows], new[columns]
