"""Which detection belongs to which track: gate, then the best assignment of all pairs at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.track import kalman
from pipeline.track.kalman import Array

Indices = NDArray[np.intp]


def likelihood_cost(mean: Array, cov: Array, measured: Array, measurement_sigma: float) -> tuple[Array, Array]:
    """Cost of every pair, and its squared Mahalanobis distance.

    The cost d^2 + ln det S is twice the negative log likelihood of the innovation up to a constant:
    without the determinant an uncertain track would win every contested detection.

    Args:
        mean: (n, 4) predicted states.
        cov: (n, 4, 4).
        measured: (m, 2) px.
        measurement_sigma: px.

    Returns:
        cost (n, m), distance (n, m), both without unit.
    """
    residual, spread = kalman.innovation(mean, cov, measured, measurement_sigma)
    distance = kalman.mahalanobis_squared(residual, spread)
    return distance + np.log(np.linalg.det(spread))[:, None], distance


def assign(cost: Array, allowed: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """One-to-one pairs: as many allowed ones as possible, and of those choices the cheapest.

    Args:
        cost: (n, m), finite where allowed.
        allowed: (n, m).

    Returns:
        rows and columns of the pairs, ordered by row.
    """
    if not allowed.any():
        return np.empty(0, np.intp), np.empty(0, np.intp)
    lowest, highest = cost[allowed].min(), cost[allowed].max()
    # Dearer than any set of allowed pairs: one forbidden pair more is never worth it.
    forbidden = (highest - lowest + 1.0) * (min(cost.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(allowed, cost - lowest, forbidden))
    kept = allowed[rows, columns]
    return rows[kept], columns[kept]
