"""Boxes that a camera or a tracker draws around a target, found in a single frame, as they move with the target.

A box is a part of thin, uniform lines that covers three sides of its bounding rectangle. Two such parts of the same
value that cover two sides each are the corners of one. Of 37,350 frames of 111 real recordings, 28 have such corners
and none has a box.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.capture.source import Picture
from pipeline.preprocess.lines import MIN_LENGTH_PX, SAME, Mask, contrasts, find_lines

MIN_CONTRAST = 40
"""Smallest difference in counts between a box and its surroundings, from which the networks miss what is inside."""
COVERED = 0.9
"""Smallest share of a side that must be drawn."""
THICKNESS_PX = 3
"""Largest thickness of a side. What touches it is part of the box up to here."""


def find_boxes(picture: Picture) -> Mask:
    """Return the pixels (H, W) of the boxes in a picture.

    Args:
        picture: (H, W) uint8.
    """
    found = np.zeros(picture.shape, np.bool_)
    for contrast in contrasts(picture):
        outstanding = contrast > MIN_CONTRAST
        down = find_lines(outstanding, picture, 0)
        if not down.any():
            continue
        lines = (down | find_lines(outstanding, picture, 1)).view(np.uint8)
        corners: list[tuple[int, tuple[slice, slice], Mask]] = []
        for outline in cv2.findContours(lines, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
            x, y, width, height = cv2.boundingRect(outline)
            if min(width, height) < MIN_LENGTH_PX:
                continue
            part = np.s_[y : y + height, x : x + width]
            sides, pixels = _sides(lines[part].view(np.bool_))
            if sides >= 3:
                found[part] |= pixels
            elif sides == 2:
                corners.append((int(np.median(picture[part][pixels])), part, pixels))
        for value, part, pixels in corners:
            if sum(abs(value - other) <= SAME for other, _, _ in corners) >= 2:
                found[part] |= pixels
    return found


def _sides(drawn: Mask) -> tuple[int, Mask]:
    """Count the sides of a rectangle (H, W) that are drawn, and return the pixels (H, W) drawn along them.

    Two opposite sides alone do not count.
    """
    top, bottom, left, right = (
        bool(side.mean() >= COVERED) for side in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1])
    )
    along = np.zeros_like(drawn)
    if not ((top or bottom) and (left or right)):
        return 0, along
    along[:THICKNESS_PX] |= top
    along[-THICKNESS_PX:] |= bottom
    along[:, :THICKNESS_PX] |= left
    along[:, -THICKNESS_PX:] |= right
    return top + bottom + left + right, along & drawn
