"""Thresholds for pictures that no coder has touched, from what comes and goes in them."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.carry import carry
from pipeline.messages import EgoMotion
from pipeline.moving.lasting import LastingPeaks
from pipeline.moving.peaks import Peaks
from pipeline.moving.settling import SMOOTHING, Settling
from pipeline.moving.threshold import (
    noisiness,
    ranked_peaks,
    smoothed,
    spread,
    tail_power,
    tail_powers,
    thresholds,
)
from pipeline.preprocess.registration import Image

FINE = 22
"""Side of the small cells, px: glitter on water is a strip among calm waves, and has edges."""
FRAMES = 8
"""Whose peaks a small cell needs to have as many as a large one in one frame."""
_CAP = 14.0


class RawThresholds:
    """Follows the peaks of one source that have not lasted, as targets do: what is left is noise, or passing clutter.

    Each place needs the lower of two thresholds. One is told by the peaks of a frame in cells of 64 px, the other by
    those of the last ``FRAMES`` frames in cells of ``FINE`` px, where they lie now. Large cells are not deafened by a
    new target; small ones hold glitter against the places where it is, not against calm water beside it.

    Attributes:
        noisy: 0 to 1, how much the frame's peaks are noise.
    """

    def __init__(self) -> None:
        self.noisy = 0.0
        self._lasting = LastingPeaks()
        self._past: list[tuple[NDArray[np.float64], NDArray[np.float32]]] = []
        self._coarse, self._fine = Settling(), Settling()
        self._power, self._compared = math.nan, 0

    def see(
        self, peaks: Peaks, shape: tuple[int, int], ego: EgoMotion, compared: int, rates: tuple[float, float]
    ) -> Image:
        """Take in the next frame.

        Args:
            peaks: of the significance of its changes.
            shape: of the frame, (H, W).
            ego: motion since the last frame.
            compared: how many past frames it was compared with; with another number than before what is usual begins
                anew. Beside two the present frame is a part of what is usual, and noise does not look it.
            rates: false peaks that each of the thresholds may let through, where they are clutter and where noise.

        Returns:
            (H, W), of significance.
        """
        if compared != self._compared:
            self._compared, self._power = compared, math.nan
            self._coarse, self._fine = Settling(), Settling()
        fresh, ranked = self._lasting.fresh(peaks, shape, ego)
        powers = tail_powers(ranked)
        power = tail_power(powers)
        if math.isnan(self._power):
            self._power = power
        elif not math.isnan(power):
            self._power += SMOOTHING * (power - self._power)
        if compared != 2:
            self.noisy = noisiness(self._power)
        rate = rates[0] * (rates[1] / rates[0]) ** self.noisy
        recent, frames = self._recent(fresh, shape, ego)
        coarse = self._coarse.see(_capped(thresholds(ranked, rate, smoothed(powers))))
        together = ranked_peaks(recent, shape, FINE)
        fine = self._fine.see(_capped(thresholds(together, frames * rate, smoothed(tail_powers(together)))))
        return np.asarray(cv2.min(spread(coarse, shape), spread(fine, shape)), np.float32)

    def _recent(self, fresh: Peaks, shape: tuple[int, int], ego: EgoMotion) -> tuple[Peaks, int]:
        """These and those of the frames before, and of how many frames they are."""
        self._past = [(carry(places, ego.matrix), height) for places, height in self._past][1 - FRAMES :]
        self._past.append((np.stack([fresh.x, fresh.y], axis=1).astype(np.float64), fresh.height))
        places, heights = (np.concatenate(column) for column in zip(*self._past, strict=True))
        x, y = np.floor(places.T).astype(np.int32)
        inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
        return Peaks(x, y, heights).only(inside), len(self._past)


def _capped(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """No part is so wild for a frame that it is deaf for long after."""
    return np.where(np.isfinite(found), np.minimum(found, _CAP), math.inf)
