"""Detection of changes between the frames of one source and its registered past frames."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pipeline.capture.source import Picture
from pipeline.messages import EgoMotion, Table
from pipeline.moving.config import MovingConfig
from pipeline.moving.frame_history import FrameHistory
from pipeline.moving.peaks import Peaks, find_peaks
from pipeline.moving.raw import RawThresholds
from pipeline.moving.residual import NOISE_GAIN, significance
from pipeline.moving.sharpness import Sharpness, sharpness
from pipeline.moving.stuck import StuckPixels
from pipeline.moving.threshold import expand, median_tail_exponent, ranked_peaks, tail_exponents, thresholds
from pipeline.moving.threshold_smoothing import SMOOTHING, SmoothedThresholds
from pipeline.preprocess.registration import Image

MIN_SIDE_PX = 32
"""Smallest usable frame side in px. Smaller frames have too few peaks to separate targets from noise."""
MIN_NOISE = 0.82
"""Lowest plausible noise of a frame in counts. Video codecs that repeat whole blocks leave less; the remaining changes
are then codec artefacts (key frames, trails, redrawn blocks). The checks for codecs apply to 8-bit pictures only: no
codec that capture decodes to 16 bits repeats blocks, and 16-bit pictures may have as little as half a count of
noise."""
CODED_NOISE = (1.2, 2.0)
"""Range of noise in counts over which codecs preserve more and more of the sensor noise. Blocks that a codec redraws
look like noise, but persist."""
CODED_SHARE = 1 / 400
"""Fraction of ``MovingConfig.false_peaks`` allowed at the lower end of ``CODED_NOISE``."""
RAW_NOISE = (4.5, 5.0)
"""Hysteresis thresholds in counts. A source counts as uncompressed once its mean noise reaches the second value and
until it drops below the first, so that a source with noise near one of them does not switch back and forth."""
RAW_SHARES = (0.1, 3.6)
"""Multiples of ``MovingConfig.false_peaks`` allowed in uncompressed pictures where peaks are clutter and where they are
noise. Noise peaks occur anywhere, and a tracker that knows their rate does not confirm chains of them as targets;
glitter recurs in the same places."""
SILENCE_S = 5.0
"""Time in seconds without results after a frame with less than ``MIN_NOISE``. Key frames, which come every few seconds,
look noisy, so all frames within this time must have enough noise."""
MAX_THRESHOLD = 10.0
"""Highest useful threshold in standard deviations. Cells that need a higher one contain changes other than noise
(waves, branches, a blinking lamp) and are disabled."""


class MotionEvidence(NamedTuple):
    """Motion evidence of one frame.

    Attributes:
        significance: (H, W) magnitude of the change in standard deviations.
        threshold: (H, W) detection threshold for ``significance``, infinity in disabled cells.
        sharpness: Sharpness of the frame. Its weight is lower the more the changes are noise, because dim targets do
            not look sharp in noise.
        mended: Stuck pixels that were replaced before the comparison, rows of ``REPLACED_DTYPE``.
    """

    significance: Image
    threshold: Image
    sharpness: Sharpness
    mended: Table


class ChangeDetector:
    """Compares each frame of one source with up to three registered frames of about the last second.

    Args:
        config: Settings of motion detection.
    """

    def __init__(self, config: MovingConfig) -> None:
        self._config = config
        self._stuck = StuckPixels()
        self._is_16_bit, self._pts = False, -math.inf
        self._silent_until = -math.inf
        self._compared = 0
        self._reset_history()

    def _reset_history(self) -> None:
        self._past = FrameHistory(self._config.interval_s)
        self._raw, self._coded = RawThresholds(), SmoothedThresholds(cautious=False)
        self._noise = math.nan  # running mean in counts
        self._is_raw = self._is_16_bit

    @property
    def defects(self) -> Table:
        """Defects of the sensor in the latest picture and their replacements, rows of ``REPLACED_DTYPE``."""
        return self._stuck.defects

    def update(self, picture: Picture, ego: EgoMotion, pts: float) -> MotionEvidence | None:
        """Process the next frame.

        Args:
            picture: (H, W) uint8 or uint16, native counts. A change of size or dtype resets the frame history.
            ego: Camera motion since the previous frame. While it is unknown the history is reset at each frame, except
                where all frames are featureless (clear sky).
            pts: Media time in seconds. A step back in time resets the history, as does too long a gap.

        Returns:
            The motion evidence, or None while there is no past frame to compare with or nothing in view was in view
            in all of them, for frames that are too small, and for ``SILENCE_S`` after a frame with too little noise.
        """
        if min(picture.shape) < MIN_SIDE_PX:
            self._stuck = StuckPixels()  # those of an earlier picture may lie outside this one
            return None
        is_16_bit = picture.dtype == np.uint16
        if is_16_bit != self._is_16_bit:
            self._stuck = StuckPixels()  # counts of another scale
        restarted = is_16_bit != self._is_16_bit or pts < self._pts
        self._is_16_bit, self._pts = is_16_bit, pts
        now, mended = self._stuck.mend(picture.astype(np.float32), ego)
        if restarted:
            self._silent_until = -math.inf
        if restarted or not self._past.is_comparable(now, ego, pts):
            self._reset_history()
        past = self._past.update(now, ego, pts)
        if not past:
            return None
        if len(past) != self._compared:
            self._compared, self._coded = len(past), SmoothedThresholds(cautious=False)
        change, filtered = significance(now, past)
        if math.isnan(filtered):
            return None
        noise = filtered / NOISE_GAIN[len(past)]
        if not is_16_bit:
            self._check_compression(noise, pts)
        peaks = find_peaks(change)
        threshold = self._threshold(peaks, (change.shape[0], change.shape[1]), ego, noise)
        if pts <= self._silent_until:
            return None
        return MotionEvidence(change, threshold, sharpness(now, peaks, 1 - self._raw.noisy), mended)

    def _check_compression(self, noise: float, pts: float) -> None:
        if noise < MIN_NOISE:
            self._silent_until = pts + SILENCE_S
        self._noise = noise if math.isnan(self._noise) else self._noise + SMOOTHING * (noise - self._noise)
        self._is_raw = self._noise >= RAW_NOISE[0 if self._is_raw else 1]

    def _threshold(self, peaks: Peaks, shape: tuple[int, int], ego: EgoMotion, noise: float) -> Image:
        false_peaks = self._config.false_peaks
        if self._is_raw:
            clutter_share, noise_share = RAW_SHARES
            threshold = self._raw.update(
                peaks, shape, ego, self._compared, (clutter_share * false_peaks, noise_share * false_peaks)
            )
        else:
            self._raw = RawThresholds()
            share = CODED_SHARE ** float(np.interp(noise, CODED_NOISE, (1, 0)))
            ranked = ranked_peaks(peaks, shape)
            cell_thresholds = thresholds(ranked, share * false_peaks, median_tail_exponent(tail_exponents(ranked)))
            threshold = expand(self._coded.update(cell_thresholds), shape)
        threshold[threshold > MAX_THRESHOLD] = math.inf
        return threshold
