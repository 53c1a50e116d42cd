"""GOSPA, a distance between a set of tracks and the set of true targets, with its components.

Generalised optimal sub-pattern assignment (Rahmathullah, Garcia-Fernandez and Svensson, FUSION 2017) with alpha = 2,
the only choice for which it splits into localisation error, missed targets and false tracks. Unlike OSPA it is not
normalised by the number of targets, so a false track costs the same however many targets there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment


class Gospa(NamedTuple):
    """The three components of GOSPA to the power of ``p``, in px^p; with p = 1 they add up to GOSPA.

    Attributes:
        localisation: sum of the distances of assigned pairs to the power of p.
        missed: cutoff^p / 2 for each target without a track.
        false: cutoff^p / 2 for each track without a target.
        p: exponent.
    """

    localisation: float
    missed: float
    false: float
    p: float

    @property
    def value(self) -> float:
        """GOSPA, px."""
        return float((self.localisation + self.missed + self.false) ** (1 / self.p))


def gospa(distance: ArrayLike, cutoff: float, p: float = 1.0) -> Gospa:
    """Compute GOSPA of one frame.

    Args:
        distance: (targets, tracks) distances in px.
        cutoff: px > 0; a pair this far apart costs as much as a missed target plus a false track.
        p: exponent, at least 1; larger values give large errors more weight.

    Raises:
        ValueError: ``distance`` is not a matrix, or cutoff or p is out of range.
    """
    matrix = np.asarray(distance, float)
    if matrix.ndim != 2:
        raise ValueError(f"distance: expected (targets, tracks), got shape {matrix.shape}")
    if not (0 < cutoff < np.inf and 1 <= p < np.inf):
        raise ValueError(f"expected cutoff > 0 and p >= 1, got cutoff {cutoff} and p {p}")
    # The assignment pairs all of the smaller set; a pair beyond the cutoff costs the same as two unpaired points.
    cost = np.minimum(matrix, cutoff) ** p
    rows, columns = linear_sum_assignment(cost)
    pairs = matrix[rows, columns] < cutoff
    alone = float(cutoff) ** p / 2
    found = int(pairs.sum())
    return Gospa(
        localisation=float(cost[rows, columns][pairs].sum()),
        missed=alone * (matrix.shape[0] - found),
        false=alone * (matrix.shape[1] - found),
        p=float(p),
    )


def mean(scores: Iterable[Gospa]) -> Gospa:
    """Average the components over frames: ``value`` is the mean GOSPA for p = 1, its root mean square for p = 2.

    Raises:
        ValueError: there are no frames, or their exponents differ.
    """
    rows = np.array(list(scores), float).reshape(-1, len(Gospa._fields))
    if len(rows) == 0 or len(np.unique(rows[:, 3])) != 1:
        raise ValueError("expected frames of one exponent")
    return Gospa(*rows.mean(axis=0).tolist())
