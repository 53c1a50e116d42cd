"""How much what has changed stands out of its surroundings now.

A target does. A place that a thing has left, and an edge that registration has half a pixel off, have changed as much
and often show nothing where they are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TARGETS = (3.0, 0.75)
"""Median and logarithmic deviation of the log-normal law that the contrast of targets follows. On ten recordings of a
flying camera, of 287 peaks of motion, they are 4.0 and 0.65; at sea and over land they are less."""
OTHERS = 3.4
"""Mean of the exponential law that all else follows, 3,517 peaks there."""
LEAST = -3.0
"""The most that it can say against a target, nats: that may cross a thing as bright as itself. It says nothing for one,
since edges and lamps stand out as well."""
_SMALLEST = 1e-3


def prominence(snr: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much less likely a target is than all else to stand out as little: log likelihood ratio, nats, 0 at most.

    Args:
        snr: (n,) contrast, see ``DETECTION_DTYPE``.
    """
    median, deviation = TARGETS
    contrast = np.clip(np.abs(snr), _SMALLEST, median)
    target = -0.5 * (np.log(contrast / median) / deviation) ** 2 - np.log(contrast * deviation * math.sqrt(2 * math.pi))
    other = -contrast / OTHERS - math.log(OTHERS)
    return np.clip(target - other, LEAST, 0.0)
