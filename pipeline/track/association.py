"""Association of detections with tracks: the most likely joint choice of pairs, misses and false alarms."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from pipeline.track import imm
from pipeline.track.evidence import USUAL_DETECTION, miss_evidence
from pipeline.track.imm import IMMState
from pipeline.track.kalman import Array

Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]
MISS_COST = 2.0
"""Cost of each frame in which a track was missed: its odds of being detected in the next one fall by a factor of e.
(Costs are twice a negative logarithm.) This is for targets detected as often as usual."""
MISS_S = 0.04
"""Shorter frames cost in proportion to their length in s, because misses in quick succession have one cause."""
_ROUNDING = 1e-6


class Pairs(NamedTuple):
    """Candidate pairs of a track and a detection, ordered by track, then detection.

    Pairs that are not listed are forbidden.

    Attributes:
        rows: (k,) indices of tracks.
        columns: (k,) indices of detections.
        cost: (k,) association costs, dimensionless.
    """

    rows: Indices
    columns: Indices
    cost: Array

    def select(self, kept: Flags) -> Pairs:
        """Return the pairs selected by the mask ``kept`` (k,)."""
        return Pairs(self.rows[kept], self.columns[kept], self.cost[kept])


def pairs(predicted: IMMState, measured: Array, measurement_sigma: float, reach_px: float, gate: float) -> Pairs:
    """Return twice the negative log-likelihood of every pair within reach, up to a constant.

    Under a single motion model the cost is d^2 + ln det S, where d is the Mahalanobis distance. Without the
    determinant an uncertain track would win every contested detection.

    Args:
        predicted: predicted states of n tracks.
        measured: (m, 2) detected positions in px.
        measurement_sigma: rms measurement error along each axis in px.
        reach_px: largest distance between a track and its detection in px.
        gate: pairs with this cost or more may be left out. Most of them are rejected by distance alone, without
            computing their cost.
    """
    if not len(predicted.weight) or not len(measured):
        nothing = np.empty(0, np.intp)
        return Pairs(nothing, nothing, np.empty(0))
    within = np.minimum(imm.reach(predicted, measurement_sigma, gate) + _ROUNDING, reach_px)
    places = cKDTree(predicted.centre()[:, :2]), cKDTree(measured)
    near = places[0].sparse_distance_matrix(places[1], within.max(), output_type="ndarray")
    near = near[near["v"] <= within[near["i"]]]
    order = np.lexsort([near["j"], near["i"]])
    rows, columns = near["i"][order], near["j"][order]
    return Pairs(rows, columns, imm.twice_nll(predicted.select(rows), measured[columns], measurement_sigma))


def missed_cost(unseen_s: Array, dt: float, usual_s: float, probability: float) -> Array:
    """Return the cost of the frames in which each track was missed before this one.

    After some misses a track may be anywhere within a wide gate. Without this cost it would jump to the first false
    alarm there, and then, taken for a fast target, to the next.

    Args:
        unseen_s: (n,) time since the last detection in s, up to this frame.
        dt: time since the previous frame in s.
        usual_s: usual frame interval in s.
        probability: probability that a target is detected. The less likely it is, the less a miss tells.
    """
    cost = MISS_COST * miss_evidence(probability) / miss_evidence(USUAL_DETECTION)
    return np.asarray(cost * np.maximum(unseen_s - dt, 0.0) / max(usual_s, MISS_S))


def gate_at(gate: float, probability: float) -> float:
    """Return the gate at a probability of detection, given that at ``USUAL_DETECTION``; see :func:`assign`."""

    def log_odds(p: float) -> float:
        return math.log(p / (1 - p))

    return gate + 2 * (log_odds(probability) - log_odds(USUAL_DETECTION))


def assign(candidates: Pairs, gate: float) -> tuple[Indices, Indices]:
    """Return the one-to-one pairs that minimise the sum of ``cost - gate``.

    Pairs with a cost of ``gate`` or more are never made. With costs from :func:`pairs` and
    gate = 2 ln(Pd / ((1 - Pd) 2 pi beta)), for detection probability Pd and beta false alarms per px^2, the result is
    the most likely explanation of the frame (Blackman and Popoli, "Design and Analysis of Modern Tracking Systems",
    1999, section 6.4).

    Args:
        candidates: pairs that are allowed.
        gate: joint cost of a missed track and a false alarm.

    Returns:
        rows and columns of the pairs, ordered by row.
    """
    rows, columns, cost = candidates.select(candidates.cost < gate)
    if not len(rows):
        return rows, columns
    lone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    contested = ~lone
    row_names, row = np.unique(rows[contested], return_inverse=True)
    column_names, column = np.unique(columns[contested], return_inverse=True)
    # Forbidden pairs have zero gain, like no pair at all, so a full assignment also represents every partial one.
    gain = np.zeros((len(row_names), len(column_names)))
    gain[row, column] = cost[contested] - gate
    chosen_row, chosen_column = linear_sum_assignment(gain)
    made = gain[chosen_row, chosen_column] < 0
    rows = np.concatenate([rows[lone], row_names[chosen_row[made]]])
    columns = np.concatenate([columns[lone], column_names[chosen_column[made]]])
    order = np.argsort(rows)
    return rows[order], columns[order]
