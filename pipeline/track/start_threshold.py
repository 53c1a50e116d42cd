"""Adaptive score threshold for starting tracks, which limits the rate of false starts in every scene."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

GAIN = 0.5
"""Increase of the threshold per start above the rate, in log odds."""
MAX_LOGIT = 16.0
"""Largest threshold in log odds, and its opposite the smallest. A float32 cannot distinguish much higher probabilities
from 1, so detections above it may always start a track."""


class StartThreshold:
    """Threshold in log odds that rises with every start and falls at a constant rate in between.

    It settles where tracks start at the permitted rate, whatever the distribution of scores in the scene (stochastic
    approximation of a quantile: Robbins and Monro, 1951). It never falls below the least score.

    Args:
        least: lowest threshold, a score from 0 to 1.
        per_minute: permitted starts per minute; None keeps the threshold at ``least``.
    """

    def __init__(self, least: float, per_minute: float | None) -> None:
        self._least = least
        self._per_s = None if per_minute is None else per_minute / 60
        self._floor = min(max(logit(np.array([least]))[0], -MAX_LOGIT), MAX_LOGIT)
        self._threshold = self._floor

    def update(self, scores: NDArray[np.floating], dt: float) -> float:
        """Update the threshold with a frame.

        Args:
            scores: (n,) scores of the detections without a track.
            dt: time since the previous frame in s.

        Returns:
            lowest score of this frame's detections that may start a track.
        """
        if self._per_s is None:
            return self._least
        now = self._threshold
        above = int((logit(scores) >= now).sum())
        self._threshold = min(max(now + GAIN * (above - self._per_s * dt), self._floor), MAX_LOGIT)
        return self._least if now <= self._floor else 1 / (1 + math.exp(-now))


def logit(probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ln(p / (1 - p)), infinite at 0 and 1."""
    p = probability.astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p) - np.log1p(-p))
