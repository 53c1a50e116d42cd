"""Non-image lines at the border of a frame: telemetry and blanking, which analogue links leave in the picture.

The network takes the bright, stationary dots in them for targets, and the first few stationary targets of a run are
accepted.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.messages import Table

MAX_LINES = 4
"""Maximum number of non-image lines on each side of a frame."""
MARGIN_PX = 5.0
"""Margin next to such lines in which detections are dropped: compression and the network spread the lines that far."""
MAX_CORRELATION_RATIO, MIN_DIFFERENCE_RATIO = 0.5, 1.2
"""A border line is not part of the image if two conditions hold. Its correlation with the next line is below
``MAX_CORRELATION_RATIO`` times the 5th percentile of neighbouring lines inside the frame, and its mean absolute
difference from it is above ``MIN_DIFFERENCE_RATIO`` times the 99th percentile. Both are needed: in an even sky lines do
not correlate, and at an edge in the scene, which continues from line to line, they differ."""
MIN_INNER_CORRELATION = 0.5
"""If the 5th percentile of the correlation inside is below this, the frame is mostly noise and no line is reported."""
_STRIDE = 4
"""Only every ``_STRIDE``-th line inside is compared with the next; this is sufficient for the percentiles."""


def count_non_image_lines(picture: Picture) -> tuple[int, int, int, int]:
    """Count the non-image lines at the top, bottom, left and right of a picture, up to ``MAX_LINES`` each.

    Args:
        picture: (H, W); the result is 0 on all sides if either dimension is below 40 px.
    """
    if min(picture.shape) < 10 * MAX_LINES:
        return 0, 0, 0, 0
    (top, bottom), (left, right) = (_count_non_image(np.moveaxis(picture, axis, 0)) for axis in (0, 1))
    return top, bottom, left, right


class BorderLines:
    """Border of a picture (H, W); non-image lines are searched for only if there are detections near the border."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    @cached_property
    def _lines(self) -> NDArray[np.int64]:
        return np.array(count_non_image_lines(self._picture))[:, None]

    def away_from_lines(self, detections: Table) -> NDArray[np.bool_]:
        """Return a mask (n,) of the detections whose centroid is at least ``MARGIN_PX`` away from non-image lines."""
        height, width = self._picture.shape
        x, y = detections["x"], detections["y"]
        depths = np.stack([y, height - 1 - y, x, width - 1 - x])
        if depths.min(initial=np.inf) >= MAX_LINES + MARGIN_PX:
            return np.ones(len(detections), bool)
        outside = (self._lines > 0) & (depths < self._lines + MARGIN_PX)
        return np.asarray(~outside.any(axis=0))


def _count_non_image(lines: Picture) -> tuple[int, int]:
    """Count the non-image lines at the beginning and at the end of lines (n, length)."""
    last = len(lines) - 2
    correlation, difference = _compare(lines, np.arange(MAX_LINES, last - MAX_LINES + 1, _STRIDE))
    inner_correlation = float(np.percentile(correlation, 5))
    min_difference = MIN_DIFFERENCE_RATIO * float(np.percentile(difference, 99))
    if inner_correlation < MIN_INNER_CORRELATION:
        return 0, 0
    counts = []
    for border in (np.arange(MAX_LINES), last - np.arange(MAX_LINES)):
        correlation, difference = _compare(lines, border)
        non_image = (correlation < MAX_CORRELATION_RATIO * inner_correlation) & (difference > min_difference)
        counts.append(int(np.flatnonzero(non_image).max(initial=-1)) + 1)
    return counts[0], counts[1]


def _compare(lines: Picture, first: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return correlation (0 for constant lines) and mean absolute difference of lines and their successors."""
    one, other = lines[first].astype(float), lines[first + 1].astype(float)
    difference = np.abs(one - other).mean(axis=1)
    one, other = (part - part.mean(axis=1, keepdims=True) for part in (one, other))
    norm = np.sqrt(np.square(one).sum(axis=1) * np.square(other).sum(axis=1))
    return (one * other).sum(axis=1) / np.where(norm > 0, norm, 1.0), difference
