"""Contrast stretch from native counts to 8 bits for display, stable over time. Not used for detection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.7
MARGIN = 0.08
MIN_SPAN = 32.0
TIME_CONSTANT_S = 2.0
_SAMPLES = 20_000


class Stretch:
    """Linear stretch between robust percentiles that follow the scene slowly, so that the picture does not flicker.

    The range has a margin on both sides and never spans less than ``MIN_SPAN`` counts, so that noise in an empty sky is
    not amplified and a small bright target still stands out.
    """

    def __init__(self) -> None:
        self._range: NDArray[np.float64] | None = None
        self._pts = 0.0

    def __call__(self, picture: Picture, pts: float) -> NDArray[np.uint8]:
        """Stretch one picture.

        Args:
            picture: (H, W) in native counts.
            pts: media time in seconds, not before that of the previous picture.

        Returns:
            (H, W) uint8.
        """
        step = max(1, int((picture.size / _SAMPLES) ** 0.5))
        sample = picture[::step, ::step].astype(np.float64)
        target = np.percentile(sample, [LOW_PERCENT, HIGH_PERCENT])
        share = 1 - np.exp(-max(pts - self._pts, 0.0) / TIME_CONSTANT_S)
        previous = target if self._range is None else self._range
        self._range = previous + share * (target - previous)
        self._pts = pts

        low, high = self._range.tolist()
        span = max((high - low) * (1 + 2 * MARGIN), MIN_SPAN)
        first = (low + high - span) / 2
        counts = np.arange(int(np.iinfo(picture.dtype).max) + 1)
        table = np.clip((counts - first) * (255 / span), 0, 255).astype(np.uint8)
        return np.asarray(table.take(picture))  # twice as fast as indexing
