"""Re-identification of lost targets, which get their old id back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.messages import Affine
from pipeline.track import kalman
from pipeline.track.kalman import Array

Ids = NDArray[np.int64]

ACCEL_SIGMA = 30.0
"""Process noise of a lost target: rms change of velocity within one second, px/s. With that of the manoeuvre model, the
target could soon be anywhere."""
GATE = 13.3
"""Largest squared Mahalanobis distance of position and velocity: 99 % of true pairs, with four degrees of freedom."""
_FORBIDDEN = 1e9


class LostTargets:
    """Confirmed tracks that ended recently, extrapolated with constant velocity.

    Args:
        remember_s: time in s after its last detection within which a target can be re-identified.
    """

    def __init__(self, remember_s: float) -> None:
        self._remember_s = remember_s
        self._ids: Ids = np.empty(0, np.int64)
        self._unseen_s: Array = np.empty(0)
        self._mean: Array = np.empty((0, 4))
        self._cov: Array = np.empty((0, 4, 4))

    def move(self, dt: float, matrix: Affine, ego_sigma: float) -> None:
        """Predict the states for a new frame; ``ego_sigma`` is the rms error in px of the ego-motion."""
        if not len(self._ids):
            return
        self._unseen_s += dt
        self._keep(self._unseen_s <= self._remember_s)
        self._mean, self._cov = kalman.predict(*kalman.warp(self._mean, self._cov, matrix), dt, ACCEL_SIGMA)
        self._cov[:, [0, 1], [0, 1]] += ego_sigma**2

    def add(self, ids: Ids, unseen_s: Array, mean: Array, cov: Array) -> None:
        """Add tracks that have ended."""
        self._ids, self._unseen_s = np.concatenate([self._ids, ids]), np.concatenate([self._unseen_s, unseen_s])
        self._mean, self._cov = np.concatenate([self._mean, mean]), np.concatenate([self._cov, cov])

    def reidentify(self, ids: Ids, lived_s: Array, mean: Array, cov: Array) -> Ids:
        """Return the ids (n,) for newly confirmed tracks: that of a matching lost target, else their own.

        Args:
            ids: (n,) ids of the tracks.
            lived_s: (n,) time in s since the first detection. A track that began before the lost target was last seen
                is another target.
            mean: (n, 4) means.
            cov: (n, 4, 4) covariances.
        """
        if not len(ids) or not len(self._ids):
            return ids
        apart = mean[:, None] - self._mean
        spread = cov[:, None] + self._cov
        distance = np.einsum("nmi,nmi->nm", apart, np.linalg.solve(spread, apart[..., None])[..., 0])
        later = lived_s[:, None] < self._unseen_s
        cost = np.where(later & (distance < GATE), distance + np.linalg.slogdet(spread)[1], _FORBIDDEN)
        rows, columns = linear_sum_assignment(cost)
        fits = cost[rows, columns] < _FORBIDDEN
        rows, columns = rows[fits], columns[fits]
        known = ids.copy()
        known[rows] = self._ids[columns]
        self._keep(~np.isin(np.arange(len(self._ids)), columns))
        return known

    def _keep(self, alive: NDArray[np.bool_]) -> None:
        self._ids, self._unseen_s = self._ids[alive], self._unseen_s[alive]
        self._mean, self._cov = self._mean[alive], self._cov[alive]
