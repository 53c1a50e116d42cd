"""Lines at the rim of a frame that are no picture: telemetry and blanking, as analogue links leave them.

Their dots stand still and out, so a network takes them for targets, and the first few things that stand are believed.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.messages import Table

MOST = 4
"""Such lines on one side."""
MARGIN_PX = 5.0
"""Beyond them, what a coder and a network's outlines make of them still is none."""
MAX_CORRELATION_RATIO, MIN_DIFFERENCE_RATIO = 0.5, 1.2
"""A line is no continuation of the next where their correlation is less than so much of the least among nineteen in
twenty neighbours inside the frame, and their difference more than so many times the largest among ninety-nine in a
hundred. An even sky has nothing that could be correlated, and an edge in the scene goes on from line to line."""
ALIKE = 0.5
"""Where neighbours inside are less alike than that, noise is all there is, and no line is strange."""
_STRIDE = 4
"""Of the lines inside, one in so many tells as much."""


def count_non_image_lines(picture: Picture) -> tuple[int, int, int, int]:
    """How many lines at the top, at the bottom, on the left and on the right are no picture, up to ``MOST`` each.

    Args:
        picture: (H, W); one with fewer than 40 lines either way has none.
    """
    if min(picture.shape) < 10 * MOST:
        return 0, 0, 0, 0
    (top, bottom), (left, right) = (_count_non_image(np.moveaxis(picture, axis, 0)) for axis in (0, 1))
    return top, bottom, left, right


class Rim:
    """The rim of a picture (H, W); such lines are only looked for where something has been found near them."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    @cached_property
    def _lines(self) -> NDArray[np.int64]:
        return np.array(count_non_image_lines(self._picture))[:, None]

    def inside(self, detections: Table) -> NDArray[np.bool_]:
        """Whether the centroid of each of the detections (n,) is on no such line, nor within ``MARGIN_PX`` of one."""
        height, width = self._picture.shape
        x, y = detections["x"], detections["y"]
        depths = np.stack([y, height - 1 - y, x, width - 1 - x])
        if depths.min(initial=np.inf) >= MOST + MARGIN_PX:
            return np.ones(len(detections), bool)
        outside = (self._lines > 0) & (depths < self._lines + MARGIN_PX)
        return np.asarray(~outside.any(axis=0))


def _count_non_image(lines: Picture) -> tuple[int, int]:
    """Of lines (n, length), how many at the beginning and at the end."""
    last = len(lines) - 2
    alike, apart = _compare(lines, np.arange(MOST, last - MOST + 1, _STRIDE))
    usual, most = float(np.percentile(alike, 5)), MIN_DIFFERENCE_RATIO * float(np.percentile(apart, 99))
    if usual < ALIKE:
        return 0, 0
    counts = []
    for rim in (np.arange(MOST), last - np.arange(MOST)):
        alike, apart = _compare(lines, rim)
        counts.append(int(np.flatnonzero((alike < MAX_CORRELATION_RATIO * usual) & (apart > most)).max(initial=-1)) + 1)
    return counts[0], counts[1]


def _compare(lines: Picture, first: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation of lines with the ones after them, 0 for even ones, and their mean absolute difference."""
    one, other = lines[first].astype(float), lines[first + 1].astype(float)
    apart = np.abs(one - other).mean(axis=1)
    one, other = (part - part.mean(axis=1, keepdims=True) for part in (one, other))
    power = np.sqrt(np.square(one).sum(axis=1) * np.square(other).sum(axis=1))
    return (one * other).sum(axis=1) / np.where(power > 0, power, 1.0), apart
