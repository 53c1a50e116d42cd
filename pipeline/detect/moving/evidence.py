"""What one source has shown to be moving, frame after frame."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.detect.moving.config import MovingConfig
from pipeline.detect.moving.lasting import LastingPeaks
from pipeline.detect.moving.residual import FILTERED, PAST, significance
from pipeline.detect.moving.sharpness import Sharpness, sharpness
from pipeline.detect.moving.stuck import StuckPixels
from pipeline.detect.moving.threshold import (
    NOISE_RATE,
    find_peaks,
    noisiness,
    ranked_peaks,
    spread,
    tail_power,
    thresholds,
)
from pipeline.messages import EgoMotion
from pipeline.preprocess.registration import Image, Matrix, Reference, smooth

LEAST_SIDE = 32
"""Px; smaller frames have too few peaks to tell noise from targets by."""
LEAST_NOISE = 0.82
"""Counts of a frame's noise. A coder that repeats whole blocks leaves less, and then what remains is not noise: key
frames, trails, blocks drawn anew."""
CODED_NOISE = (1.2, 2.0)
"""Counts between which a coder leaves more and more of the noise. What it draws anew looks like noise, and stays."""
CODED_SHARE = 1 / 400
"""Of the false peaks, may pass where it leaves the least."""
RAW_NOISE = 5.0
"""Counts from which on no coder has touched it: what looks like noise is noise."""
REST_S = 5.0
"""Key frames look noisy, and come every few seconds: so long must all frames be."""
HIGHEST_THRESHOLD = 10.0
"""A part of the frame that needs a higher one changes in ways that are not noise: waves, branches, a blinking lamp."""
FIRST_SHARE = 1 / 3
"""At the start there is no frame as old as the others will be: one of this share of their age has to do."""
TURNS = 2
"""Of this many frames, a past frame is registered with one; with every one is no better, and with one of four worse."""
_SMOOTHING = 0.1
_BURST = 1.5
_CLOCK_S = 1e-3


class Evidence(NamedTuple):
    """Of one frame.

    Attributes:
        significance: (H, W) of change, standard deviations.
        threshold: (H, W) that it is to be held against.
        sharpness: of what is to be seen; believed as far as the changes are no noise, in which nothing dim looks sharp.
    """

    significance: Image
    threshold: Image
    sharpness: Sharpness


class _Snapshot:
    def __init__(self, frame: Image, smoothed: Image, pts: float) -> None:
        self.frame, self.smoothed, self.pts = frame, smoothed, pts
        self.to_now: Matrix = np.eye(3)
        self.gain, self.offset = 1.0, 0.0

    def follow(self, ego: EgoMotion) -> None:
        """A frame has passed."""
        self.to_now = np.vstack([np.reshape(ego.matrix, (2, 3)), [0.0, 0.0, 1.0]]) @ self.to_now

    def register(self, now: Reference) -> None:
        """Correct where the frame lies now, and how bright it is beside the present one."""
        self.to_now, self.gain, self.offset = now.register(self.smoothed, self.to_now)

    def warped(self) -> Image:
        """The frame as it would look now, NaN where it was out of view."""
        height, width = self.frame.shape
        warped = cv2.warpAffine(
            self.frame, self.to_now[:2], (width, height), flags=cv2.INTER_CUBIC, borderValue=math.nan
        )
        return np.asarray(self.gain * warped + self.offset, np.float32)


class MovingEvidence:
    """Compares the frames of one source with up to three of the last second or so, brought onto them.

    Args:
        config: of this way of finding targets.
    """

    def __init__(self, config: MovingConfig) -> None:
        self._config = config
        self._stuck = StuckPixels()
        self._snapshots: list[_Snapshot] = []
        self._lasting = LastingPeaks()
        self._usual: NDArray[np.float64] | None = None
        self._power, self._noisy = math.nan, 0.0
        self._rest_until = -math.inf
        self._seen = self._compared = 0

    def see(self, picture: Picture, ego: EgoMotion, pts: float) -> Evidence | None:
        """Take in the next frame.

        Args:
            picture: (H, W), native counts; of another size than before, all begins anew.
            ego: motion since the last frame; while it is unknown, all begins anew.
            pts: media time in seconds.

        Returns:
            none until there is a frame to compare with, and for frames that tell nothing.
        """
        if min(picture.shape) < LEAST_SIDE:
            return None
        now = self._stuck.mend(picture.astype(np.float32))
        if self._snapshots and (not ego.ok or now.shape != self._snapshots[-1].frame.shape or self._broken(pts)):
            self._snapshots, self._usual, self._lasting = [], None, LastingPeaks()
        smoothed = smooth(now)
        reference = Reference(smoothed)
        self._seen += 1
        for number, shot in enumerate(self._snapshots):
            shot.follow(ego)
            if (number + self._seen) % TURNS == 0:  # the young ones as well: drift is taken out while it is small
                shot.register(reference)
        past = [shot for shot in self._snapshots if self._old(shot, pts)][-PAST:]
        if not past and self._snapshots and self._old(self._snapshots[0], pts, FIRST_SHARE):
            past = self._snapshots[:1]
        if not self._snapshots or self._old(self._snapshots[-1], pts):
            self._snapshots = [*self._snapshots[-PAST:], _Snapshot(now, smoothed, pts)]
        if not past:
            return None
        if len(past) != self._compared:
            self._compared, self._usual, self._power = len(past), None, math.nan
        frames = [shot.warped() for shot in past]
        seen: NDArray[np.bool_] = np.isfinite(sum(frames))
        found, filtered = significance(now, frames, seen)
        noise = filtered / FILTERED[len(past)]
        if noise < LEAST_NOISE:
            self._rest_until = pts + REST_S
        peaks = find_peaks(found)
        ranked = ranked_peaks(found, peaks)
        if noise >= RAW_NOISE:
            passed_over = self._lasting.passed_over(found, peaks, ego)
        else:
            passed_over, self._lasting = ranked, LastingPeaks()
        now_at = self._thresholds(ranked, passed_over, noise)
        self._usual = now_at if self._usual is None else _settle(self._usual, now_at)
        # At once where much of a cell changes, as at the key frames of a coder.
        needed = np.where(np.isfinite(now_at) & (now_at > _BURST * self._usual), now_at, self._usual)
        needed[needed > HIGHEST_THRESHOLD] = math.inf
        if pts <= self._rest_until:
            return None
        sharp = sharpness(now, found, peaks, 1 - self._noisy)
        return Evidence(found, spread(needed, (found.shape[0], found.shape[1])), sharp)

    def _thresholds(
        self, ranked: NDArray[np.float64], passed_over: NDArray[np.float64], noise: float
    ) -> NDArray[np.float64]:
        """Of ranks among all peaks, and among those that have not lasted: many targets in noise are no clutter."""
        power = tail_power(passed_over)
        if math.isnan(self._power):
            self._power = power
        elif not math.isnan(power):
            self._power += _SMOOTHING * (power - self._power)
        if self._compared != 2:  # beside two the present frame is a part of what is usual, and noise does not look it
            self._noisy = noisiness(self._power) if noise >= RAW_NOISE else 0.0
        if self._noisy:
            ranked = np.where(np.isnan(passed_over), ranked, ranked + self._noisy * (passed_over - ranked))
        coded = float(np.interp(noise, CODED_NOISE, (1, 0)))
        # Beside fewer frames targets leave holes, which are no noise.
        more = NOISE_RATE**self._noisy if self._compared == PAST else 1.0
        return thresholds(ranked, self._config.false_peaks * CODED_SHARE**coded * more, tail_power(ranked))

    def _old(self, shot: _Snapshot, pts: float, share: float = 1.0) -> bool:
        return pts - shot.pts >= share * self._config.interval_s - _CLOCK_S

    def _broken(self, pts: float) -> bool:
        """Whether time has stood still, run backwards or leapt."""
        age = pts - self._snapshots[-1].pts
        return not 0 < age <= 2 * PAST * self._config.interval_s


def _settle(usual: NDArray[np.float64], now: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thresholds that follow those of each frame slowly; infinite ones, of too few peaks, say nothing."""
    followed = np.where(np.isfinite(now), (1 - _SMOOTHING) * usual + _SMOOTHING * now, usual)
    return np.where(np.isfinite(usual), followed, now)
