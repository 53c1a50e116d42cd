"""The score that starts a track, such that what is no target starts one at a wanted rate in every scene."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

GAIN = 0.5
"""By how much one detection too many raises the threshold, in log odds."""
HIGHEST = 16.0
"""Log odds; a float32 cannot tell much higher probabilities from 1, so what is surer may always start a track."""


class StartScore:
    """A threshold in log odds that every start raises, and that falls at a steady pace in between.

    Where it settles, as many tracks start as the rate allows, whatever the scores of the scene are like (stochastic
    approximation of a quantile: Robbins and Monro, 1951). It is never below the least one.

    Args:
        least: score, 0 to 1.
        per_minute: tracks that may start; none keeps the least score.
    """

    def __init__(self, least: float, per_minute: float | None) -> None:
        self._least = least
        self._per_s = None if per_minute is None else per_minute / 60
        self._floor = min(log_odds(np.array([least]))[0], HIGHEST)
        self._threshold = self._floor

    def see(self, scores: NDArray[np.floating], dt: float) -> float:
        """Take in the scores of a frame's detections that belong to no track, and its seconds since the last.

        Returns:
            score from which on a detection of this frame may start a track.
        """
        if self._per_s is None:
            return self._least
        now = self._threshold
        above = int((log_odds(scores) >= now).sum())
        self._threshold = min(max(now + GAIN * (above - self._per_s * dt), self._floor), HIGHEST)
        return self._least if now <= self._floor else 1 / (1 + math.exp(-now))


def log_odds(probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """ln(p / (1 - p)), infinite at 0 and 1."""
    p = probability.astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p) - np.log1p(-p))
