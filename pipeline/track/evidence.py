"""Track score: log-likelihood ratio, in nats, of a track being one target or a sequence of false alarms.

Every frame adds a term (Sittler 1964; Blackman and Popoli, "Design and Analysis of Modern Tracking Systems", 1999,
section 6.2). A sequence of false alarms fits its own predictions badly, and where false alarms are dense, a good fit
counts for little.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.track.kalman import Array

USUAL_DETECTION = 0.9
"""Probability of detection for which the thresholds of evidence and the gate were chosen."""
RECENT_S, RECENT_FRAMES = 1.0, 10
"""Time constant of what counts as recent in s, and its minimum in frames."""


def miss_evidence(probability: float) -> float:
    """Return the log-likelihood ratio of a missed detection in nats.

    Args:
        probability: probability that a target is detected, below 1.
    """
    return math.log(1 - probability)


def hit_evidence(twice_nll: Array, density: Array, probability: float) -> Array:
    """Return the log-likelihood ratio of detections that were associated with tracks.

    Args:
        twice_nll: (n,) of each detection under its track, see ``imm.twice_nll``.
        density: (n,) false alarms per px^2 and frame around each detection, above 0.
        probability: probability that a target is detected, above 0.

    Returns:
        (n,) log-likelihood ratios in nats, up to the constant ln(``USUAL_DETECTION``), which the thresholds include.
    """
    likelihood: Array = -0.5 * twice_nll - math.log(2 * np.pi) - np.log(density)
    return likelihood + math.log(probability / USUAL_DETECTION)


def update_recent(before: Array, gain: Array, dt: float) -> Array:
    """Return the exponentially decayed sum of evidence, so that a long history does not outweigh the present.

    Args:
        before: (n,) sums after the previous frame in nats.
        gain: (n,) evidence of this frame in nats.
        dt: time since the previous frame in s.
    """
    return before * decay(dt) + gain


def decay(dt: float) -> float:
    """Return the factor by which the weight of the past falls in a frame of ``dt`` s."""
    return math.exp(-min(dt / RECENT_S, 1 / RECENT_FRAMES))
