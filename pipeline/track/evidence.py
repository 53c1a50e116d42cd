"""Track score: log-likelihood ratio, in nats, of a track being one target or a sequence of false alarms.

Every frame adds a term (Sittler 1964; Blackman and Popoli, "Design and Analysis of Modern Tracking Systems", 1999,
section 6.2). A sequence of false alarms fits its own predictions badly, and where false alarms are dense, a good fit
counts for little.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.track.kalman import Array

MISS_EVIDENCE = math.log(0.1)
"""Log-likelihood ratio of a missed detection, for a target detected nine times in ten, nats."""
RECENT_S, RECENT_FRAMES = 1.0, 10
"""Time constant of ``recent`` in s, and its minimum in frames."""


def hit_evidence(twice_nll: Array, density: Array) -> Array:
    """Return the log-likelihood ratio of detections that were associated with tracks.

    Args:
        twice_nll: (n,) of each detection under its track, see ``imm.twice_nll``.
        density: (n,) false alarms per px^2 and frame around each detection, above 0.

    Returns:
        (n,) log-likelihood ratios in nats.
    """
    likelihood: Array = -0.5 * twice_nll - math.log(2 * np.pi) - np.log(density)
    return likelihood


def update_recent(before: Array, gain: Array, dt: float) -> Array:
    """Return the exponentially decayed sum of evidence, so that a long history does not outweigh the present.

    Args:
        before: (n,) sums after the previous frame in nats.
        gain: (n,) evidence of this frame in nats.
        dt: time since the previous frame in s.
    """
    kept: Array = before * math.exp(-min(dt / RECENT_S, 1 / RECENT_FRAMES))
    return kept + gain
