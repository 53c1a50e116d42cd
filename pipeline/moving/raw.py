"""Thresholds for uncompressed pictures, estimated from the peaks that do not persist."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.carry import carry
from pipeline.messages import EgoMotion
from pipeline.moving.peaks import Peaks
from pipeline.moving.persistence import PersistentPeaks
from pipeline.moving.threshold import (
    expand,
    median_of_neighbours,
    median_tail_exponent,
    noisiness,
    ranked_peaks,
    tail_exponents,
    thresholds,
)
from pipeline.moving.threshold_smoothing import SMOOTHING, SmoothedThresholds
from pipeline.preprocess.registration import Image

FINE_CELL = 22
"""Side of the small cells in px. Glitter on water is a sharply bounded strip in calm water."""
FRAMES = 8
"""Number of frames over which a small cell collects about as many peaks as a large cell has in one frame."""
_CAP = 14.0  # standard deviations


class RawThresholds:
    """Thresholds of one source, estimated from its transient peaks: noise and passing clutter.

    Persistent peaks, such as those of targets, are excluded. Each pixel gets the lower of two thresholds. One is
    estimated from the peaks of the current frame in cells of 64 px, the other from the peaks of the last ``FRAMES``
    frames, moved with the camera, in cells of ``FINE_CELL`` px. Large cells do not lose sensitivity through a new
    target. Small cells confine glitter to where it occurs, so that it does not raise the threshold of calm water next
    to it.

    Attributes:
        noisy: Degree to which peaks are noise, from 0 (clutter) to 1 (noise).
    """

    def __init__(self) -> None:
        self.noisy = 0.0
        self._persistence = PersistentPeaks()
        self._past: list[tuple[NDArray[np.float64], NDArray[np.float32]]] = []
        self._coarse, self._fine = SmoothedThresholds(cautious=True), SmoothedThresholds(cautious=True)
        self._exponent, self._compared = math.nan, 0

    def update(
        self, peaks: Peaks, shape: tuple[int, int], ego: EgoMotion, compared: int, rates: tuple[float, float]
    ) -> Image:
        """Process the next frame.

        Args:
            peaks: Peaks of the significance of change.
            shape: (H, W) of the frame.
            ego: Camera motion since the previous frame.
            compared: Number of past frames the frame was compared with. A change of this number resets the running
                means. With two, ``noisy`` is not updated: the current frame is then part of the background estimate,
                and the tails of noise look different.
            rates: False peaks per frame that each threshold may let through where peaks are clutter and where they are
                noise.

        Returns:
            (H, W) thresholds for the significance.
        """
        if compared != self._compared:
            self._compared, self._exponent = compared, math.nan
            self._coarse, self._fine = SmoothedThresholds(cautious=True), SmoothedThresholds(cautious=True)
        transient, ranked = self._persistence.remove_persistent(peaks, shape, ego)
        exponents = tail_exponents(ranked)
        exponent = median_tail_exponent(exponents)
        if math.isnan(self._exponent):
            self._exponent = exponent
        elif not math.isnan(exponent):
            self._exponent += SMOOTHING * (exponent - self._exponent)
        if compared != 2:
            self.noisy = noisiness(self._exponent)
        rate = rates[0] * (rates[1] / rates[0]) ** self.noisy
        recent, frames = self._recent(transient, shape, ego)
        coarse = self._coarse.update(_capped(thresholds(ranked, rate, median_of_neighbours(exponents))))
        recent_ranked = ranked_peaks(recent, shape, FINE_CELL)
        fine = self._fine.update(
            _capped(thresholds(recent_ranked, frames * rate, median_of_neighbours(tail_exponents(recent_ranked))))
        )
        return np.asarray(cv2.min(expand(coarse, shape), expand(fine, shape)), np.float32)

    def _recent(self, transient: Peaks, shape: tuple[int, int], ego: EgoMotion) -> tuple[Peaks, int]:
        """Return the peaks of up to ``FRAMES`` frames in current coordinates, and the number of these frames."""
        self._past = [(carry(places, ego.matrix), height) for places, height in self._past][1 - FRAMES :]
        self._past.append((np.stack([transient.x, transient.y], axis=1).astype(np.float64), transient.height))
        places, heights = (np.concatenate(column) for column in zip(*self._past, strict=True))
        x, y = np.floor(places.T).astype(np.int32)
        inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
        return Peaks(x, y, heights).select(inside), len(self._past)


def _capped(limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Limit finite thresholds, so that one extreme frame does not desensitise a cell for long."""
    return np.where(np.isfinite(limits), np.minimum(limits, _CAP), math.inf)
