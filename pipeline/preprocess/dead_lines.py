"""Dead rows and columns of the sensor: lines of one value that cross the whole picture.

The networks take what stands beside them for clutter, as they do beside a reticle.
"""

from __future__ import annotations

import numpy as np

from pipeline.capture.source import Picture
from pipeline.preprocess.lines import UNIFORM, Mask

BORDER_PX = 8
"""Distance from the border from which lines count. Telemetry and blanking lie nearer, see ``detect.border_lines``."""
STANDING_OUT = 0.5
"""Smallest share of a line that stands out from its surroundings. The scene may be as bright in places."""
SAME_VALUE = 0.95
"""Smallest share of a line whose value is within half of ``UNIFORM`` of its median."""


def find_dead_lines(candidates: Mask, value: Picture) -> Mask:
    """Return the pixels (H, W) of the dead rows and columns.

    Args:
        candidates: (H, W) pixels that stand out from their surroundings steadily, if part of something thin.
        value: (H, W) uint8 counts.
    """
    dead = np.zeros(value.shape, np.bool_)
    for lines, out, counts in ((dead, candidates, value), (dead.T, candidates.T, value.T)):
        inside = np.flatnonzero(out.mean(axis=1) >= STANDING_OUT)
        inside = inside[(inside >= BORDER_PX) & (inside < len(counts) - BORDER_PX)]
        of_lines = counts[inside].astype(np.float32)
        same = np.abs(of_lines - np.median(of_lines, axis=1, keepdims=True)) <= UNIFORM / 2
        lines[inside[same.mean(axis=1) >= SAME_VALUE]] = True
    return dead
