"""Appearance term of the association cost, from area and contrast."""

from __future__ import annotations

import numpy as np

from pipeline.messages import TENTATIVE, Table
from pipeline.track.kalman import Array

LARGE = 12
"""Area in px below which area and contrast vary too much from frame to frame to be compared."""
AREA_SPREAD, CONTRAST_SPREAD = 0.5, 0.8
"""Rms frame-to-frame change of the logarithms of area and contrast, for large targets of high contrast. The masks of a
network vary in size, and so does the noise around a target."""


def appearance_cost(tracks: Table, detections: Table) -> Array:
    """Return the squared difference in appearance of tracks and detections, in units of its variance.

    The squared differences of log area and log contrast are added, each divided by its variance. Beside the spread
    above, the variances include terms that fall with area and with squared contrast. The cost is 0 for a confirmed
    point target with a large detection, because the target may have met another one.

    Args:
        tracks: rows of ``TRACK_DTYPE``.
        detections: rows of ``DETECTION_DTYPE``, of a shape that broadcasts with ``tracks``.

    Returns:
        costs of the common shape; 0 where the track is smaller than ``LARGE``, except for tentative tracks with
        large detections.
    """
    (area, snr), (other_area, other_snr) = (
        [np.maximum(np.abs(part[name].astype(float)), 1.0) for name in ("area", "snr")] for part in (tracks, detections)
    )
    by_area = np.square(np.log(area / other_area)) / (AREA_SPREAD**2 + 1 / area + 1 / other_area)
    by_contrast = np.square(np.log(snr / other_snr)) / (CONTRAST_SPREAD**2 + 1 / snr**2 + 1 / other_snr**2)
    known = (area >= LARGE) | ((other_area >= LARGE) & (tracks["state"] == TENTATIVE))
    return np.where(known, by_area + by_contrast, 0.0)
