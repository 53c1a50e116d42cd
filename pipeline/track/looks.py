"""What tells a target from another thing beside its place: how large it is, and how far it stands out."""

from __future__ import annotations

import numpy as np

from pipeline.messages import TENTATIVE, Table
from pipeline.track.kalman import Array

LARGE = 12
"""Px; of what is smaller, area and contrast tell nothing: points may look like anything from frame to frame."""
AREA_SPREAD, CONTRAST_SPREAD = 0.5, 0.8
"""Rms change of the logarithms of area and contrast from one frame to the next, of what is large and clear: a network
outlines a target now tighter, now wider, and the noise around it is not always the same."""


def unlike(ours: Table, theirs: Table) -> Array:
    """How unlike tracks and detections are: the sum of two squared differences in standard deviations.

    Beside their spread, the logarithms may differ by what a pixel more or less is for the area, and a deviation of the
    noise more or less for the contrast. A confirmed point may well be in something large: it has met another.

    Args:
        ours: rows of ``TRACK_DTYPE``.
        theirs: rows of ``DETECTION_DTYPE``, of a shape that goes with that of ``ours``.

    Returns:
        of their common shape; 0 where the track is smaller than ``LARGE``, but for tentative ones and large detections.
    """
    (area, snr), (other_area, other_snr) = (
        [np.maximum(np.abs(part[name].astype(float)), 1.0) for name in ("area", "snr")] for part in (ours, theirs)
    )
    by_area = np.square(np.log(area / other_area)) / (AREA_SPREAD**2 + 1 / area + 1 / other_area)
    by_contrast = np.square(np.log(snr / other_snr)) / (CONTRAST_SPREAD**2 + 1 / snr**2 + 1 / other_snr**2)
    known = (area >= LARGE) | ((other_area >= LARGE) & (ours["state"] == TENTATIVE))
    return np.where(known, by_area + by_contrast, 0.0)
