"""Which detection belongs to which track: the likeliest choice of pairs, misses and false detections at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.track import kalman
from pipeline.track.kalman import Array

Indices = NDArray[np.intp]


def pair_cost(mean: Array, cov: Array, measured: Array, measurement_sigma: float) -> Array:
    """Twice the negative log likelihood of every pair, up to a constant: d^2 + ln det S.

    d is the Mahalanobis distance. Without the determinant an uncertain track would win every contested
    detection.

    Args:
        mean: (n, 4) predicted states.
        cov: (n, 4, 4).
        measured: (m, 2) px.
        measurement_sigma: px.

    Returns:
        (n, m), without unit.
    """
    residual, spread = kalman.innovation(mean, cov, measured, measurement_sigma)
    volume: Array = np.log(np.linalg.det(spread))
    return kalman.mahalanobis_squared(residual, spread) + volume[:, None]


def assign(cost: Array, gate: float) -> tuple[Indices, Indices]:
    """One-to-one pairs that minimise the sum of ``cost - gate``; pairs from ``gate`` up are never made.

    With costs from :func:`pair_cost` and gate = 2 ln(Pd / ((1 - Pd) 2 pi beta)), for detection probability
    Pd and beta false detections per px^2, this is the likeliest explanation of the frame (Blackman and
    Popoli, "Design and Analysis of Modern Tracking Systems", 1999, section 6.4).

    Args:
        cost: (n, m), infinite where a pair is forbidden.
        gate: what a miss and a false detection cost together.

    Returns:
        rows and columns of the pairs, ordered by row.
    """
    # A pair that is not worth making costs as much as none, so every full assignment is also a partial one.
    gain = np.minimum(cost - gate, 0.0)
    rows, columns = linear_sum_assignment(gain)
    made = gain[rows, columns] < 0
    return rows[made], columns[made]
