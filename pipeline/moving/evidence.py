"""What one source has shown to be moving, frame after frame."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pipeline.capture.source import Picture
from pipeline.messages import EgoMotion, Table
from pipeline.moving.config import MovingConfig
from pipeline.moving.past import Past
from pipeline.moving.peaks import Peaks, find_peaks
from pipeline.moving.raw import RawThresholds
from pipeline.moving.residual import FILTERED, significance
from pipeline.moving.settling import SMOOTHING, Settling
from pipeline.moving.sharpness import Sharpness, sharpness
from pipeline.moving.stuck import StuckPixels
from pipeline.moving.threshold import ranked_peaks, spread, tail_power, tail_powers, thresholds
from pipeline.preprocess.registration import Image

LEAST_SIDE = 32
"""Px; smaller frames have too few peaks to tell noise from targets by."""
LEAST_NOISE = 0.82
"""Counts of a frame's noise. A coder that repeats whole blocks leaves less, and then what remains is not noise: key
frames, trails, blocks drawn anew. This and what follows of coders is for 8 bits: none that capture reads as 16 bits
repeats anything, and there the noise may be half a count."""
CODED_NOISE = (1.2, 2.0)
"""Counts between which a coder leaves more and more of the noise. What it draws anew looks like noise, and stays."""
CODED_SHARE = 1 / 400
"""Of the false peaks, may pass where it leaves the least."""
RAW_NOISE = (4.5, 5.0)
"""Counts: from the second on no coder has touched it, and what looks like noise is noise. It stays so down to the
first: a sensor whose noise is about either is judged alike in all frames."""
RAW_SHARES = (0.1, 3.6)
"""Of the false peaks that may pass elsewhere, may pass then, where they are clutter and where they are noise. Noise
comes anywhere, and a tracker that knows how often does not take a chain of it for a target; glitter comes where glitter
is."""
REST_S = 5.0
"""Key frames look noisy, and come every few seconds: so long must all frames be."""
HIGHEST_THRESHOLD = 10.0
"""A part of the frame that needs a higher one changes in ways that are not noise: waves, branches, a blinking lamp."""


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


class MovingEvidence:
    """Compares the frames of one source with up to three of the last second or so, brought onto them.

    Args:
        config: of this way of finding targets.
    """

    def __init__(self, config: MovingConfig) -> None:
        self._config = config
        self._stuck = StuckPixels()
        self._deep, self._pts = False, -math.inf
        self._rest_until = -math.inf
        self._compared = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._past = Past(self._config.interval_s)
        self._raw, self._coded = RawThresholds(), Settling()
        self._noise = math.nan  # counts, what is usual
        self._is_raw = self._deep

    def see(self, picture: Picture, ego: EgoMotion, pts: float) -> Evidence | None:
        """Take in the next frame.

        Args:
            picture: (H, W), native counts; of another size or depth than before, all begins anew.
            ego: motion since the last frame; while it is unknown, all begins anew, but before a clear sky.
            pts: media time in seconds; earlier than before, all begins anew.

        Returns:
            none until there is a frame to compare with, and for frames that tell nothing.
        """
        if min(picture.shape) < LEAST_SIDE:
            return None
        now, mended = self._stuck.mend(picture.astype(np.float32))
        deep = picture.dtype == np.uint16
        another = deep != self._deep or pts < self._pts
        self._deep, self._pts = deep, pts
        if another:
            self._rest_until = -math.inf
        if another or not self._past.is_followed_by(now, ego, pts):
            self._begin_anew()
        past = self._past.see(now, ego, pts)
        if not past:
            return None
        if len(past) != self._compared:
            self._compared, self._coded = len(past), Settling()
        found, filtered = significance(now, past)
        noise = filtered / FILTERED[len(past)]
        if not deep:
            self._look_for_coder(noise, pts)
        peaks = find_peaks(found)
        threshold = self._threshold(peaks, (found.shape[0], found.shape[1]), ego, noise)
        if pts <= self._rest_until:
            return None
        return Evidence(found, threshold, sharpness(now, peaks, 1 - self._raw.noisy), mended)

    def _look_for_coder(self, noise: float, pts: float) -> None:
        if noise < LEAST_NOISE:
            self._rest_until = pts + REST_S
        self._noise = noise if math.isnan(self._noise) else self._noise + SMOOTHING * (noise - self._noise)
        self._is_raw = self._noise >= RAW_NOISE[0 if self._is_raw else 1]

    def _threshold(self, peaks: Peaks, shape: tuple[int, int], ego: EgoMotion, noise: float) -> Image:
        false_peaks = self._config.false_peaks
        if self._is_raw:
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
