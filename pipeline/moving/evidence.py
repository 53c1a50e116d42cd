"""What one source has shown to be moving, frame after frame."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pipeline.capture.source import Picture
from pipeline.messages import EgoMotion, Table
from pipeline.moving.config import MovingConfig
from pipeline.moving.dense import dense, laid
from pipeline.moving.peaks import Peaks, find_peaks
from pipeline.moving.raw import RawThresholds
from pipeline.moving.residual import FILTERED, PAST, significance
from pipeline.moving.settling import SMOOTHING, Settling
from pipeline.moving.sharpness import Sharpness, sharpness
from pipeline.moving.stuck import StuckPixels
from pipeline.moving.threshold import ranked_peaks, spread, tail_power, tail_powers, thresholds
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
RAW_SHARES = (0.1, 3.6)
"""Of the false peaks that may pass elsewhere, may pass then, where they are clutter and where they are noise. Noise
comes anywhere, and a tracker that knows how often does not take a chain of it for a target; glitter comes where glitter
is."""
REST_S = 5.0
"""Key frames look noisy, and come every few seconds: so long must all frames be."""
HIGHEST_THRESHOLD = 10.0
"""A part of the frame that needs a higher one changes in ways that are not noise: waves, branches, a blinking lamp."""
FIRST_SHARE = 1 / 3
"""At the start there is no frame as old as the others will be: one of this share of their age has to do."""
TURNS = 2
"""Of this many frames, a past frame is registered with one; with every one is no better, and with one of four worse."""
_CLOCK_S = 1e-3


class Evidence(NamedTuple):
    """Of one frame.

    Attributes:
        significance: (H, W) of change, standard deviations.
        threshold: (H, W) that it is to be held against.
        sharpness: of what is to be seen; believed as far as the changes are no noise, in which nothing dim looks sharp.
        mended: stuck pixels that were not looked at, ``MENDED_DTYPE``.
    """

    significance: Image
    threshold: Image
    sharpness: Sharpness
    mended: Table


class _Snapshot:
    def __init__(self, frame: Image, smoothed: Image, pts: float) -> None:
        self.samples, self.smoothed, self.pts = dense(frame), smoothed, pts
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
        warped = laid(self.samples, self.to_now)
        warped *= self.gain
        warped += self.offset
        return warped


class MovingEvidence:
    """Compares the frames of one source with up to three of the last second or so, brought onto them.

    Args:
        config: of this way of finding targets.
    """

    def __init__(self, config: MovingConfig) -> None:
        self._config = config
        self._stuck = StuckPixels()
        self._snapshots: list[_Snapshot] = []
        self._raw, self._coded = RawThresholds(), Settling()
        self._noise = math.nan
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
        now, mended = self._stuck.mend(picture.astype(np.float32))
        if self._snapshots and (not ego.ok or now.shape != self._snapshots[-1].smoothed.shape or self._broken(pts)):
            self._snapshots, self._raw, self._coded, self._noise = [], RawThresholds(), Settling(), math.nan
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
            self._compared, self._coded = len(past), Settling()
        frames = [shot.warped() for shot in past]
        found, filtered = significance(now, frames)
        noise = filtered / FILTERED[len(past)]
        if noise < LEAST_NOISE:
            self._rest_until = pts + REST_S
        self._noise = noise if math.isnan(self._noise) else self._noise + SMOOTHING * (noise - self._noise)
        peaks = find_peaks(found)
        threshold = self._threshold(peaks, (found.shape[0], found.shape[1]), ego, noise)
        if pts <= self._rest_until:
            return None
        return Evidence(found, threshold, sharpness(now, peaks, 1 - self._raw.noisy), mended)

    def _threshold(self, peaks: Peaks, shape: tuple[int, int], ego: EgoMotion, noise: float) -> Image:
        false_peaks = self._config.false_peaks
        if self._noise >= RAW_NOISE:
            clutter, chance = RAW_SHARES
            found = self._raw.see(peaks, shape, ego, self._compared, (clutter * false_peaks, chance * false_peaks))
        else:
            self._raw = RawThresholds()
            share = CODED_SHARE ** float(np.interp(noise, CODED_NOISE, (1, 0)))
            ranked = ranked_peaks(peaks, shape)
            needed = thresholds(ranked, share * false_peaks, tail_power(tail_powers(ranked)))
            found = spread(self._coded.see(needed), shape)
        found[found > HIGHEST_THRESHOLD] = math.inf
        return found

    def _old(self, shot: _Snapshot, pts: float, share: float = 1.0) -> bool:
        return pts - shot.pts >= share * self._config.interval_s - _CLOCK_S

    def _broken(self, pts: float) -> bool:
        """Whether time has stood still, run backwards or leapt."""
        age = pts - self._snapshots[-1].pts
        return not 0 < age <= 2 * PAST * self._config.interval_s
