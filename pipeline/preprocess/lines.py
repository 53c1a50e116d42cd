"""Straight lines along the rows and columns of a picture, as they are drawn: thin, and of the same value throughout."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture

Mask = NDArray[np.bool_]

MAX_WIDTH_PX = 4
"""Largest width of a line."""
MIN_LENGTH_PX, MIN_LENGTH_WIDE_PX = 9, 13
"""Smallest length of a line, and of one wider than two pixels, as an elongated target may be."""
UNIFORM = 12
"""Largest range in counts along the smallest length of a line. Codecs leave up to 6 in the mean of many frames."""
SAME = 8
"""Largest difference in counts between the lines of one drawing."""

_ACROSS = np.ones((MAX_WIDTH_PX + 1, MAX_WIDTH_PX + 1), np.uint8)
_NEIGHBOURS = np.ones((3, 3), np.uint8)


def contrasts(picture: Picture) -> tuple[Picture, Picture]:
    """Return by how much each pixel is brighter and darker than its surroundings, if part of something thin.

    Args:
        picture: (H, W) uint8.

    Returns:
        Two pictures (H, W) uint8 in counts.
    """
    bright = cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, _ACROSS)
    dark = cv2.morphologyEx(picture, cv2.MORPH_BLACKHAT, _ACROSS)
    return np.asarray(bright, np.uint8), np.asarray(dark, np.uint8)


def highest_nearby(counts: Picture) -> Picture:
    """Return the maximum (H, W) of a picture within the width of a line."""
    return np.asarray(cv2.dilate(counts, _ACROSS), np.uint8)


def find_lines(candidates: Mask, value: Picture, axis: int) -> Mask:
    """Return the pixels (H, W) of lines along the columns (``axis`` 0) or the rows (1).

    Args:
        candidates: (H, W) pixels that stand out.
        value: (H, W) uint8 counts.
        axis: Direction of the lines.
    """
    narrow = candidates & ~wide(candidates)
    return _runs(narrow, value, MIN_LENGTH_PX, axis) | _runs(candidates, value, MIN_LENGTH_WIDE_PX, axis)


def _runs(candidates: Mask, value: Picture, length: int, axis: int) -> Mask:
    """Return the candidates (H, W) in uniform columns (``axis`` 0) or rows (1) of at least this length in pixels."""
    along = np.ones((length, 1) if axis == 0 else (1, length), np.uint8)
    whole = cv2.erode(candidates.view(np.uint8), along, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if whole.any():
        uniform = np.asarray(cv2.morphologyEx(value, cv2.MORPH_GRADIENT, along)) <= UNIFORM
        whole = cv2.dilate(whole & uniform.view(np.uint8), along)
    return whole.view(np.bool_)


def wide(mask: Mask) -> Mask:
    """Return where a mask (H, W) is at least three pixels of the picture wide in both directions."""
    opened = cv2.morphologyEx(
        mask.view(np.uint8), cv2.MORPH_OPEN, _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return opened.view(np.bool_)


def dilate(mask: Mask) -> Mask:
    """Return a mask (H, W) with the eight neighbours of its pixels."""
    return cv2.dilate(mask.view(np.uint8), _NEIGHBOURS).view(np.bool_)
