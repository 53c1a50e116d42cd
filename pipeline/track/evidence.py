"""How much likelier a track is one target than a chain of chance detections: log likelihood ratios, in nats.

Every frame adds a term (Sittler 1964; Blackman and Popoli, "Design and Analysis of Modern Tracking Systems", 1999,
section 6.2). A chain of chance detections fits its own predictions badly, and where there are many of them, a fit is
worth little.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.track.kalman import Array

MISS = math.log(0.1)
"""What a frame without a detection says of a target that is detected nine times in ten."""
RECENT_S, RECENT_FRAMES = 1.0, 10
"""What was said longer ago than this, and that many frames ago, hardly counts for what is recent."""


def hit(misfit: Array, density: Array) -> Array:
    """What a detection says.

    Args:
        misfit: (n,) of each detection with its track, see ``belief.misfit``.
        density: (n,) chance detections per px^2 where it is, above 0.

    Returns:
        (n,) nats.
    """
    likelihood: Array = -0.5 * misfit - math.log(2 * np.pi) - np.log(density)
    return likelihood


def recent(before: Array, said: Array, dt: float) -> Array:
    """What has been said of late, nats: a sum that forgets, so that no long past outweighs it.

    Args:
        before: (n,) this after the frame before.
        said: (n,) by this frame.
        dt: s between them.
    """
    kept: Array = before * math.exp(-min(dt / RECENT_S, 1 / RECENT_FRAMES))
    return kept + said
