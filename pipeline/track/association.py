"""Which detection belongs to which track: the likeliest choice of pairs, misses and false detections at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from pipeline.track import belief
from pipeline.track.belief import Belief
from pipeline.track.kalman import Array

Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]
_ROUNDING = 1e-6


class Pairs(NamedTuple):
    """Tracks and detections that may belong together, ordered by track, then detection; all others may not.

    Attributes:
        rows: (k,) of tracks.
        columns: (k,) of detections.
        cost: (k,) without unit.
    """

    rows: Indices
    columns: Indices
    cost: Array

    def only(self, kept: Flags) -> Pairs:
        """Some of the pairs, (k,) True for each that stays."""
        return Pairs(self.rows[kept], self.columns[kept], self.cost[kept])


def pairs(predicted: Belief, measured: Array, measurement_sigma: float, reach_px: float, gate: float) -> Pairs:
    """Twice the negative log likelihood of every pair within reach, up to a constant.

    It is d^2 + ln det S under each model of motion, d being the Mahalanobis distance. Without the determinant an
    uncertain track would win every contested detection.

    Args:
        predicted: n tracks.
        measured: (m, 2) px.
        measurement_sigma: px.
        reach_px: largest distance of a track and its detection.
        gate: cost from which on pairs may be left out: most of those are so far apart that they need not be weighed.
    """
    if not len(predicted.weight) or not len(measured):
        nothing = np.empty(0, np.intp)
        return Pairs(nothing, nothing, np.empty(0))
    within = np.minimum(belief.reach(predicted, measurement_sigma, gate) + _ROUNDING, reach_px)
    places = cKDTree(predicted.centre()[:, :2]), cKDTree(measured)
    near = places[0].sparse_distance_matrix(places[1], within.max(), output_type="ndarray")
    near = near[near["v"] <= within[near["i"]]]
    order = np.lexsort([near["j"], near["i"]])
    rows, columns = near["i"][order], near["j"][order]
    return Pairs(rows, columns, belief.misfit(predicted.only(rows), measured[columns], measurement_sigma))


def assign(candidates: Pairs, gate: float) -> tuple[Indices, Indices]:
    """One-to-one pairs that minimise the sum of ``cost - gate``; pairs from ``gate`` up are never made.

    With costs from :func:`pairs` and gate = 2 ln(Pd / ((1 - Pd) 2 pi beta)), for detection probability
    Pd and beta false detections per px^2, this is the likeliest explanation of the frame (Blackman and
    Popoli, "Design and Analysis of Modern Tracking Systems", 1999, section 6.4).

    Args:
        candidates: pairs that are not forbidden.
        gate: what a miss and a false detection cost together.

    Returns:
        rows and columns of the pairs, ordered by row.
    """
    rows, columns, cost = candidates.only(candidates.cost < gate)
    if not len(rows):
        return rows, columns
    lone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    contested = ~lone
    row_names, row = np.unique(rows[contested], return_inverse=True)
    column_names, column = np.unique(columns[contested], return_inverse=True)
    # What is no pair costs as much as none, so every full assignment is also a partial one.
    gain = np.zeros((len(row_names), len(column_names)))
    gain[row, column] = cost[contested] - gate
    chosen_row, chosen_column = linear_sum_assignment(gain)
    made = gain[chosen_row, chosen_column] < 0
    rows = np.concatenate([rows[lone], row_names[chosen_row[made]]])
    columns = np.concatenate([columns[lone], column_names[chosen_column[made]]])
    order = np.argsort(rows)
    return rows[order], columns[order]
