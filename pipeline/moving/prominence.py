"""Likelihood ratio of the contrast that a change has with its surroundings in the current frame.

Targets have contrast. A position that an object has just left, or an edge misregistered by half a pixel, changes as
much, but often shows no contrast in the current frame.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TARGET_CONTRAST = (3.0, 0.75)
"""Median, and standard deviation of the logarithm, of the log-normal distribution of target contrast. On 287 motion
peaks in ten recordings of a flying camera they are 4.0 and 0.65; targets at sea and over land have less contrast."""
OTHER_MEAN_CONTRAST = 3.4
"""Mean of the exponential distribution of the contrast of all other peaks (3,517 in the same recordings)."""
MIN_LLR = -3.0
"""Lower limit of the log-likelihood ratio in nats: a target may pass in front of something as bright as itself. The
upper limit is 0, since edges and lamps have high contrast as well."""
_MIN_CONTRAST = 1e-3  # contrast, avoids the logarithm of 0


def prominence(snr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-likelihood ratio (n,) in nats of target versus other change, given the contrast; between ``MIN_LLR`` and 0.

    Args:
        snr: (n,) signed contrast in standard deviations, see ``DETECTION_DTYPE``.
    """
    median, deviation = TARGET_CONTRAST
    contrast = np.clip(np.abs(snr), _MIN_CONTRAST, median)
    target = -0.5 * (np.log(contrast / median) / deviation) ** 2 - np.log(contrast * deviation * math.sqrt(2 * math.pi))
    other = -contrast / OTHER_MEAN_CONTRAST - math.log(OTHER_MEAN_CONTRAST)
    return np.clip(target - other, MIN_LLR, 0.0)
