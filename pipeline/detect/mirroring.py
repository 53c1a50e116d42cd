"""Mirroring of the network input from frame to frame, so that a still target is not missed for as long as it is still.

A network that pools is not blind to where a target lies on its pooling grid (Zhang, "Making convolutional networks
shift-invariant again", ICML 2019): moved by a pixel, a target scores differently. Where neither target nor camera
moves, the same miss would be repeated in every frame, and so would the same false alarm. Mirroring changes the place on
the grid without further evaluations of the network. A target is confirmed if three of the four orientations show it.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture

Plane = TypeVar("Plane", NDArray[np.uint8], NDArray[np.float32], Picture)

ORIENTATIONS = 4
_FLIP_CODES = (0, -1, 1)  # rows, both axes, columns: where every other frame is dropped, both axes still take part


def mirror(plane: Plane, frame: int) -> Plane:
    """Return a picture or map in the orientation of a frame; doing it again restores the original.

    Args:
        plane: (H, W) uint8, uint16 or float32.
        frame: Index of the frame.

    Returns:
        (H, W), ``plane`` itself in every fourth frame.
    """
    turn = frame % ORIENTATIONS
    if turn == 0:
        return plane
    mirrored = np.empty_like(plane)
    cv2.flip(plane, _FLIP_CODES[turn - 1], mirrored)
    return mirrored
