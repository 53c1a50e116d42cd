"""Targets that leap: a camera that is driven by hand jerks, and a flat sky tells nothing of it.

No model of motion reaches from one place to the other, and one wide enough would take whatever is near. But what was
there a frame ago and is gone, and what is there now and is nobody's, are one thing if both are large enough to have
looks, look alike, and nothing else does.
"""

from __future__ import annotations

import numpy as np

from pipeline.messages import Table
from pipeline.track.association import Indices
from pipeline.track.looks import LARGE, unlike

SHARE = 1 / 10
"""Of the picture's longer side: the longest leap from one frame to the next."""
ALIKE = 9.0
"""``unlike`` up to which two may be one thing."""


def leaps(tracks: Table, missed: Indices, detections: Table, free: Indices, reach_px: float) -> tuple[Indices, Indices]:
    """Pairs of a missed track and a free detection that have only each other.

    Args:
        tracks: (n,) rows of ``TRACK_DTYPE``, ``x`` and ``y`` where they were last shown.
        missed: those that were seen in the frame before, and not in this one.
        detections: (m,) rows of ``DETECTION_DTYPE``.
        free: those that no track got.
        reach_px: the longest leap.

    Returns:
        rows of ``tracks`` and of ``detections``.
    """
    missed, free = missed[tracks["area"][missed] >= LARGE], free[detections["area"][free] >= LARGE]
    ours, theirs = tracks[missed][:, None], detections[free]
    fits = (np.hypot(ours["x"] - theirs["x"], ours["y"] - theirs["y"]) <= reach_px) & (unlike(ours, theirs) <= ALIKE)
    alone = fits & (fits.sum(axis=1, keepdims=True) == 1) & (fits.sum(axis=0) == 1)
    rows, columns = np.nonzero(alone)
    return missed[rows], free[columns]
