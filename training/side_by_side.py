"""A picture beside its truth and its prediction, for people."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nets.normalisation import Picture

HIT, MISSED, FALSE = (80, 220, 80), (60, 60, 255), (0, 200, 255)  # BGR
GAP = 4


def side_by_side(
    picture: Picture, truth: NDArray[np.bool_], predicted: NDArray[np.bool_], text: str = ""
) -> NDArray[np.uint8]:
    """The picture alone, and with its pixels coloured: green hit, red missed, yellow false.

    Args:
        picture: (H, W), uint8 or uint16; shown between its 0.5th and 99.9th percentile.
        truth: (H, W).
        predicted: (H, W).
        text: written above.

    Returns:
        (H', 2 W + gap, 3), uint8, BGR; small pictures are magnified to 256 px.
    """
    low, high = np.percentile(picture, (0.5, 99.9))
    grey = np.clip((picture.astype(np.float32) - low) / max(high - low, 1.0) * 255, 0, 255).astype(np.uint8)
    plain = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    coloured = plain.copy()
    for colour, where in ((HIT, truth & predicted), (MISSED, truth & ~predicted), (FALSE, predicted & ~truth)):
        coloured[where] = colour
    factor = max(1, round(256 / min(grey.shape)))
    both = np.hstack([plain, np.zeros((len(plain), GAP, 3), np.uint8), coloured])
    both = cv2.resize(both, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    strip = np.zeros((18, both.shape[1], 3), np.uint8)
    cv2.putText(strip, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([strip, both])


def sheet(rows: Sequence[NDArray[np.uint8]], columns: int = 2) -> NDArray[np.uint8]:
    """Pictures (H, W, 3) of any sizes in a grid, each scaled to the width of the widest."""
    width = max(row.shape[1] for row in rows)
    scaled = [cv2.resize(row, (width, round(row.shape[0] * width / row.shape[1]))) for row in rows]
    lines = []
    for start in range(0, len(scaled), columns):
        line = scaled[start : start + columns]
        height = max(row.shape[0] for row in line)
        line = [np.pad(row, ((0, height - row.shape[0]), (GAP, GAP), (0, 0))) for row in line]
        line += [np.zeros_like(line[0])] * (columns - len(line))
        lines.append(np.hstack(line))
    return np.vstack(lines)
