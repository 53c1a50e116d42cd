"""Burnt-in lines: the reticle, scales and frames that a camera draws into its picture.

The networks take what stands beside bright straight lines for clutter: a target within some 30 px of a reticle is not
found, though the operator points the reticle at it. Such lines are therefore replaced by their surroundings before
anything else looks at the picture.

A line is known by its look, not by standing still while the scene moves: the camera may be fixed, and a target that a
gimbal follows stands still too. Lines that are drawn are straight, along the rows or columns, thin, of the same value
from end to end, hardly change, and come in both directions. No target does all of this.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture

EVERY = 5
"""Number of frames from one picture that is examined to the next."""
MEMORY = 20
"""Time constant of the running means in pictures examined."""
TRUST = 5
"""Number of pictures examined before the first line is known."""
MIN_LENGTH_PX = 9
"""Smallest length of a line."""
MAX_WIDTH_PX = 4
"""Largest width of a line."""
MIN_CONTRAST = 40.0
"""Smallest mean difference in counts between a line and its surroundings."""
STEADY = 0.15
"""Largest mean deviation of a pixel of a line from its own mean, relative to its contrast. Codecs leave up to 0.03."""
UNIFORM = 12
"""Largest range in counts of the means of ``MIN_LENGTH_PX`` pixels along a line. Codecs leave up to 6."""
SAME = 8
"""Largest difference in counts between horizontal and vertical lines of one drawing."""

_ACROSS = np.ones((MAX_WIDTH_PX + 1, MAX_WIDTH_PX + 1), np.uint8)
_ALONG = (np.ones((1, MIN_LENGTH_PX), np.uint8), np.ones((MIN_LENGTH_PX, 1), np.uint8))
_NEIGHBOURS = np.ones((3, 3), np.uint8)
_OFFSETS = np.mgrid[-MAX_WIDTH_PX : MAX_WIDTH_PX + 1, -MAX_WIDTH_PX : MAX_WIDTH_PX + 1].reshape(2, 1, -1)
"""Surroundings of a pixel: they reach beyond the lines even where two of them cross."""


class BurntInLines:
    """Detects the burnt-in lines of one source and replaces them.

    Attributes:
        pixels: Indices (n,) of the replaced pixels of the latest picture, flattened, in ascending order.
    """

    def __init__(self) -> None:
        self._reset((0, 0))

    def _reset(self, shape: tuple[int, ...]) -> None:
        self._shape, self._frames, self._examined = shape, 0, 0
        self._contrast, self._value, self._deviation = (np.zeros(shape, np.float32) for _ in range(3))
        self._know(np.zeros(shape, np.bool_))

    def _know(self, lines: NDArray[np.bool_]) -> None:
        """Set the known lines, a mask (H, W), and from which pixels theirs are computed."""
        height, width = self._shape
        at = np.flatnonzero(lines)
        y, x = np.stack(np.divmod(at, max(width, 1)))[:, :, None] + _OFFSETS
        around = y.clip(0, height - 1) * width + x.clip(0, width - 1)
        weight = ~np.take(lines, around) if len(at) else np.empty(around.shape, np.bool_)
        surrounded = weight.any(axis=1)
        self._at, self._around = at[surrounded], around[surrounded]
        self._weight = weight[surrounded] / weight[surrounded].sum(axis=1, keepdims=True, dtype=np.float32)
        self.pixels = self._at

    def replace(self, picture: Picture) -> Picture:
        """Return the picture with each pixel of a burnt-in line replaced by the mean of those around it.

        Args:
            picture: (H, W) raw counts. Those of 16 bits are returned as they are: they come from the sensor.

        Returns:
            A copy of the picture, or itself if there are no lines in it.
        """
        if picture.dtype != np.uint8:
            self._reset((0, 0))
            return picture
        if picture.shape != self._shape:
            self._reset(picture.shape)
        if self._frames % EVERY == 0:
            self._examine(picture)
        self._frames += 1
        # Lines that the operator has just switched off must not be replaced any more.
        still_there = np.abs(np.take(picture, self._at) - np.take(self._value, self._at)) < MIN_CONTRAST / 2
        self.pixels = self._at[still_there]
        if not len(self.pixels):
            return picture
        means = np.einsum("ij,ij->i", np.take(picture, self._around[still_there]), self._weight[still_there])
        replaced = picture.copy()
        np.put(replaced, self.pixels, np.rint(means))
        return replaced

    def _examine(self, picture: Picture) -> None:
        self._examined += 1
        bright = cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, _ACROSS)
        dark = cv2.morphologyEx(picture, cv2.MORPH_BLACKHAT, _ACROSS)
        counts = picture.astype(np.float32)
        weight = 1 / min(self._examined, MEMORY)
        cv2.accumulateWeighted(cv2.subtract(bright, dark, dtype=cv2.CV_32F), self._contrast, weight)
        deviation = np.zeros_like(counts) if self._examined == 1 else cv2.absdiff(counts, self._value)
        cv2.accumulateWeighted(counts, self._value, weight)
        cv2.accumulateWeighted(deviation, self._deviation, weight)
        if self._examined < TRUST:
            return
        contrast, value = np.abs(self._contrast), np.rint(self._value).astype(np.uint8)
        candidates = (contrast > MIN_CONTRAST) & (self._deviation < STEADY * contrast)
        bright_side = self._contrast > 0
        lines = _lines(candidates & bright_side, value) | _lines(candidates & ~bright_side, value)
        # The ends of an outline are shorter than a line.
        beside = cv2.dilate(lines.view(np.uint8), _NEIGHBOURS).astype(np.bool_) & candidates
        self._know(lines | (beside & (_count_same(value, lines) >= MIN_LENGTH_PX)))


def _lines(candidates: NDArray[np.bool_], value: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels (H, W) of uniform lines that have both horizontal and vertical ones of the same value.

    Args:
        candidates: (H, W) where a line may be.
        value: (H, W) mean counts.
    """
    directions = []
    for along in _ALONG:
        whole = cv2.erode(candidates.view(np.uint8), along, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        if not whole.any():
            return np.zeros(value.shape, np.bool_)
        whole[cv2.morphologyEx(value, cv2.MORPH_GRADIENT, along) > UNIFORM] = 0
        directions.append(cv2.dilate(whole, along).astype(np.bool_))
    lines = directions[0] | directions[1]
    for direction in directions:
        lines &= _count_same(value, direction) >= MIN_LENGTH_PX
    return lines


def _count_same(value: NDArray[np.uint8], lines: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each pixel (H, W) how many pixels of the lines, a mask (H, W), have its value within ``SAME``."""
    histogram = np.bincount(value[lines], minlength=256)
    return np.convolve(histogram, np.ones(2 * SAME + 1, np.int64), "same")[value]
