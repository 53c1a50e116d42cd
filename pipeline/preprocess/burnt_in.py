"""Burnt-in graphics: the reticle, scales, frames and text that a camera draws into its picture.

The networks take what stands beside bright straight lines for clutter: a target within some 30 px of a reticle is not
found, though the operator points the reticle at it. Graphics are therefore replaced by their surroundings before
anything else looks at the picture.

They are known by their look, not by standing still while the scene moves: the camera may be fixed, and a target that a
gimbal follows stands still too. Graphics have lines along the rows and lines along the columns, thin, of the same value
from end to end, which hardly change. No target has. Where there are such lines, other strokes of their value belong to
them, unless they have the soft edges of what was imaged through optics, or are as compact as a target.

Dead rows and columns of the sensor disturb the networks in the same way and are replaced with them.
"""

from __future__ import annotations

from copy import copy

import cv2
import numpy as np

from pipeline.capture.source import Picture
from pipeline.preprocess.boxes import find_boxes
from pipeline.preprocess.dead_lines import find_dead_lines
from pipeline.preprocess.lines import (
    MAX_WIDTH_PX,
    MIN_LENGTH_PX,
    SAME,
    Mask,
    contrasts,
    dilate,
    find_lines,
    highest_nearby,
    wide,
)

EVERY = 5
"""Number of frames from one picture that is examined to the next."""
MEMORY = 20
"""Time constant of the running means in pictures examined."""
TRUST = 5
"""Number of pictures examined before graphics are known."""
MIN_CONTRAST = 25.0
"""Smallest mean difference in counts between a line and its surroundings."""
STEADY = 0.15
"""Largest mean deviation of a pixel of a line from its own mean, relative to its contrast. Codecs leave up to 0.03."""
MIN_PART_PX = 4
"""Smallest length of a part of a drawing that is not connected to a line."""
SOFT = (0.25, 0.8)
"""Range of contrast, relative to the highest nearby, at the edge of what was imaged through optics."""
CONNECTED = 0.5
"""Smallest contrast of a pixel, relative to the highest nearby, that is connected to its neighbours."""
WHOLE = 0.75
"""Smallest share of connected pixels that must be recognised for these to be replaced."""

_OFFSETS = np.mgrid[-MAX_WIDTH_PX : MAX_WIDTH_PX + 1, -MAX_WIDTH_PX : MAX_WIDTH_PX + 1].reshape(2, 1, -1)
"""Surroundings of a pixel: they reach beyond the lines even where two of them cross."""


class _Surroundings:
    """The pixels of a drawing that have surroundings, and these.

    Args:
        drawing: (H, W) pixels drawn.

    Attributes:
        at: (n,) indices of the pixels, flattened, in ascending order.
    """

    def __init__(self, drawing: Mask) -> None:
        height, width = drawing.shape
        at = np.flatnonzero(drawing)
        y, x = np.stack(np.divmod(at, max(width, 1)))[:, :, None] + _OFFSETS
        around = y.clip(0, height - 1) * width + x.clip(0, width - 1)
        weight = ~np.take(drawing, around) if len(at) else np.empty(around.shape, np.bool_)
        surrounded = weight.any(axis=1)
        self.at, self._around = at[surrounded], around[surrounded]
        self._weight = weight[surrounded] / weight[surrounded].sum(axis=1, keepdims=True, dtype=np.float32)

    def select(self, which: Mask) -> _Surroundings:
        """Return some of the pixels, given a mask (n,)."""
        some = copy(self)
        some.at, some._around, some._weight = self.at[which], self._around[which], self._weight[which]
        return some

    def replace(self, picture: Picture) -> Picture:
        """Return a picture (H, W) with each pixel replaced by the mean of those around it; itself if there are none."""
        if not len(self.at):
            return picture
        replaced = picture.copy()
        np.put(replaced, self.at, np.rint(np.einsum("ij,ij->i", np.take(picture, self._around), self._weight)))
        return replaced


class BurntInGraphics:
    """Detects the burnt-in graphics of one source and replaces them.

    Attributes:
        pixels: Indices (n,) of the replaced pixels of the latest picture, flattened, in ascending order.
    """

    def __init__(self) -> None:
        self._reset((0, 0))

    def _reset(self, shape: tuple[int, ...]) -> None:
        self._shape, self._frames, self._examined = shape, 0, 0
        self._contrast, self._value, self._deviation = (np.zeros(shape, np.float32) for _ in range(3))
        self._drawing = np.zeros(shape, np.bool_)
        self._known = _Surroundings(self._drawing)
        self.pixels = self._known.at

    def replace(self, picture: Picture) -> Picture:
        """Return the picture with each pixel of its graphics replaced by the mean of those around it.

        Args:
            picture: (H, W) raw counts. Those of 16 bits are returned as they are: they come from the sensor.

        Returns:
            A copy of the picture, or itself if there are no graphics in it.
        """
        if picture.dtype != np.uint8:
            self._reset((0, 0))
            return picture
        if picture.shape != self._shape:
            self._reset(picture.shape)
        if self._frames % EVERY == 0:
            self._examine(picture)
        self._frames += 1
        # Graphics that the operator has just switched off must not be replaced any more.
        at = self._known.at
        still_there = np.abs(np.take(picture, at) - np.take(self._value, at)) < MIN_CONTRAST / 2
        known = self._known.select(still_there)
        replaced = known.replace(picture)
        boxes = find_boxes(replaced)
        if boxes.any():
            np.put(boxes, known.at, True)
            known = _Surroundings(boxes)
            replaced = known.replace(picture)
        self.pixels = known.at
        return replaced

    def _examine(self, picture: Picture) -> None:
        self._examined += 1
        bright, dark = contrasts(picture)
        counts = picture.astype(np.float32)
        weight = 1 / min(self._examined, MEMORY)
        cv2.accumulateWeighted(cv2.subtract(bright, dark, dtype=cv2.CV_32F), self._contrast, weight)
        deviation = np.zeros_like(counts) if self._examined == 1 else cv2.absdiff(counts, self._value)
        cv2.accumulateWeighted(counts, self._value, weight)
        cv2.accumulateWeighted(deviation, self._deviation, weight)
        contrast, value = np.abs(self._contrast), np.rint(self._value).astype(np.uint8)
        candidates = (contrast > MIN_CONTRAST) & (self._deviation < STEADY * contrast)
        drawing = find_dead_lines(candidates, value)
        if self._examined >= TRUST:
            drawing |= _drawing(candidates, self._contrast > 0, value, np.rint(contrast).astype(np.uint8))
        # Once known, graphics stay so even if a target touches them.
        self._drawing = drawing | (self._drawing & candidates)
        self._known = _Surroundings(self._drawing)


def _drawing(candidates: Mask, bright: Mask, value: Picture, counts: Picture) -> Mask:
    """Return the pixels (H, W) of lines and of the other strokes that were drawn with them.

    Args:
        candidates: (H, W) pixels that may have been drawn.
        bright: (H, W) pixels brighter than their surroundings; the others are darker.
        value: (H, W) mean counts.
        counts: (H, W) mean absolute difference from the surroundings.
    """
    signs = bright, ~bright
    lines = [_lines(candidates & sign, value) for sign in signs]
    any_lines, drawing = lines[0] | lines[1], np.zeros(value.shape, np.bool_)
    if not any_lines.any():
        return drawing
    peak = highest_nearby(counts)
    # What touches a line may look soft: the ends of an outline, between two signs.
    allowed = candidates & (dilate(any_lines) | ~_soft(counts, peak))
    connected = (counts > MIN_CONTRAST) & (counts > cv2.convertScaleAbs(peak, alpha=CONNECTED))
    for sign, lines_of_sign in zip(signs, lines, strict=True):
        if lines_of_sign.any():
            strokes = sign & allowed & ~wide(candidates & sign) & _is_same(value, lines_of_sign)
            drawing |= _whole_parts(lines_of_sign | strokes, connected & sign)
    return drawing


def _lines(candidates: Mask, value: Picture) -> Mask:
    """Return the pixels (H, W) of uniform lines, if there are horizontal and vertical ones of the same value."""
    down = find_lines(candidates, value, 0)
    if not down.any():
        return down
    across = find_lines(candidates, value, 1)
    return (down | across) & _is_same(value, down) & _is_same(value, across)


def _is_same(value: Picture, lines: Mask) -> Mask:
    """Return the pixels (H, W) whose value is within ``SAME`` that of a line's length of pixels of the lines (H, W)."""
    histogram = np.bincount(np.take(value, np.flatnonzero(lines)), minlength=256)
    number = np.convolve(histogram, np.ones(2 * SAME + 1, np.int64), "same")
    return cv2.LUT(value, (number >= MIN_LENGTH_PX).astype(np.uint8)).view(np.bool_)


def _soft(counts: Picture, peak: Picture) -> Mask:
    """Return the pixels (H, W) at the soft edge of an object, given the contrast (H, W) and the highest nearby."""
    low, high = (cv2.convertScaleAbs(peak, alpha=share) for share in SOFT)
    return dilate((counts > low) & (counts < high) & (peak > MIN_CONTRAST))


def _whole_parts(drawing: Mask, connected: Mask) -> Mask:
    """Return those parts of a drawing (H, W) that are as long as a letter, and whole.

    What would be left of a part looks like a target. Smoothed letters are recognised in pieces only and had better
    stay.

    Args:
        drawing: (H, W) pixels recognised.
        connected: (H, W) pixels that belong to an object if they touch it.
    """
    objects = (drawing | connected).view(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(objects, connectivity=8)
    at = np.flatnonzero(drawing)
    recognised = np.bincount(np.take(labels, at), minlength=count)
    size = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
    kept = (size >= MIN_PART_PX) & (recognised >= WHOLE * stats[:, cv2.CC_STAT_AREA])
    whole = np.zeros_like(drawing)
    np.put(whole, at, kept[np.take(labels, at)])
    return whole
