"""Targets that leap: a camera that is driven by hand jerks, and a flat sky tells nothing of it.

No model of motion reaches from one place to the other, and one wide enough would take whatever is near. But what was
there a frame ago and is gone, and what is there now and is nobody's, are one thing if both are large enough to have
looks, look alike, and nothing else does. Points have no looks. What came the moment that a point went, stayed while
it stayed away, and is alone in that, is the point.
"""

from __future__ import annotations

import numpy as np

from pipeline.messages import TENTATIVE, Table
from pipeline.track.association import Indices
from pipeline.track.kalman import Array
from pipeline.track.looks import LARGE, unlike

SHARE = 1 / 10
"""Of the picture's longer side: the longest leap from one frame to the next."""
ALIKE = 9.0
"""``unlike`` up to which two may be one thing."""
STAYED = 3
"""Frames that a point has to be seen at its new place, one after the other, and not at its old one."""
STAYED_NATS = 10.0
"""Evidence by then that the new one is no chain of chance detections: what flickers everywhere does not have it."""


def leaps(
    tracks: Table, places: Array, missed: Indices, detections: Table, free: Indices, reach_px: float
) -> tuple[Indices, Indices]:
    """Pairs of a missed track and a free detection that have only each other.

    Args:
        tracks: (n,) rows of ``TRACK_DTYPE``, as last shown.
        places: (n, 2) where they were to be expected in this frame, px.
        missed: those that were seen in the frame before, and not in this one.
        detections: (m,) rows of ``DETECTION_DTYPE``.
        free: those that no track got.
        reach_px: the longest leap.

    Returns:
        rows of ``tracks`` and of ``detections``.
    """
    missed, free = missed[tracks["area"][missed] >= LARGE], free[detections["area"][free] >= LARGE]
    ours, theirs = tracks[missed][:, None], detections[free]
    apart = np.hypot(*(places[missed].T[..., None] - np.stack([theirs["x"], theirs["y"]])[:, None]))
    fits = (apart <= reach_px) & (unlike(ours, theirs) <= ALIKE)
    alone = fits & (fits.sum(axis=1, keepdims=True) == 1) & (fits.sum(axis=0) == 1)
    rows, columns = np.nonzero(alone)
    return missed[rows], free[columns]


def heirs(tracks: Table, life: Table, places: Array, dt: float, reach_px: float) -> tuple[Indices, Indices]:
    """Pairs of a shown track and the tentative one that is the same target after a leap.

    Args:
        tracks: (n,) rows of ``TRACK_DTYPE``, after this frame.
        life: (n,) rows of ``lifecycle.LIFE_DTYPE``.
        places: (n, 2) where they are now, px.
        dt: s, of a frame.
        reach_px: the longest leap.

    Returns:
        rows of those shown, and of those tentative.
    """
    young = (tracks["state"] == TENTATIVE) & (life["age"] == STAYED) & (life["hits"] == STAYED)
    new = np.flatnonzero(young)
    old = np.flatnonzero((tracks["state"] != TENTATIVE) & (life["unseen_s"] > 0))
    apart = np.linalg.norm(places[old][:, None] - places[new], axis=2)
    late_s = life["unseen_s"][old][:, None] - life["lived_s"][new]
    fits = (apart <= reach_px) & (late_s > 0) & (late_s < 1.5 * dt)
    fits &= tracks["snr"][old][:, None] * tracks["snr"][new] > 0
    alone = fits & (fits.sum(axis=1, keepdims=True) == 1) & (fits.sum(axis=0) == 1)
    rows, columns = np.nonzero(alone & (life["evidence"][new] >= STAYED_NATS))
    return old[rows], new[columns]
