"""Pictures shown beside their truth and prediction, for visual inspection."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nets.normalisation import Picture
from training.metrics.strict import Mask

HIT, MISSED, FALSE = (80, 220, 80), (60, 60, 255), (0, 200, 255)  # BGR
WHITE = (255, 255, 255)
PANEL, WINDOW, STRIP, GAP = 256, 64, 18, 4

Image = NDArray[np.uint8]


def side_by_side(picture: Picture, truth: Mask, predicted: Mask, text: str = "") -> Image:
    """Draw the whole picture with boxes, and a magnified window of it, plain and with coloured masks.

    Green marks hits, red misses and yellow false alarms. Each connected component of truth and prediction gets a box,
    which is green if any of its pixels is a hit. The window of 64x64 px is placed where missed targets are densest; if
    none are missed, on the true pixels, and if there are none, on the predicted pixels.

    Args:
        picture: (H, W), uint8 or uint16; each panel is scaled between its own 0.5th and 99.9th percentile.
        truth: (H, W), bool.
        predicted: (H, W), bool.
        text: Written above the panels.

    Returns:
        (274, 776, 3), uint8, BGR, independent of the size of the picture.
    """
    window = _densest(next((m for m in (_missed(truth, predicted), truth) if m.any()), predicted))
    plain = _grey(picture[window])
    coloured = plain.copy()
    true, found = truth[window], predicted[window]
    for colour, where in ((HIT, true & found), (MISSED, true & ~found), (FALSE, found & ~true)):
        coloured[where] = colour
    gap = np.zeros((PANEL, GAP, 3), np.uint8)
    panels = np.hstack([_whole(picture, truth, predicted, window), gap, _fit(plain), gap, _fit(coloured)])
    strip = np.zeros((STRIP, panels.shape[1], 3), np.uint8)
    _write(strip, text, 4, WHITE)
    return np.vstack([strip, panels])


def sheet(rows: Sequence[Image], columns: int = 2) -> Image:
    """Arrange pictures (H, W, 3) of one size in a grid below a legend of the colours."""
    cells = [np.pad(row, ((0, GAP), (GAP, GAP), (0, 0))) for row in rows]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    lines = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    legend = np.zeros((STRIP + GAP, lines[0].shape[1], 3), np.uint8)
    for k, (word, colour) in enumerate((("hit", HIT), ("missed", MISSED), ("false", FALSE))):
        _write(legend, word, GAP + 4 + 64 * k, colour)
    return np.vstack([legend, *lines])


def _missed(truth: Mask, predicted: Mask) -> Mask:
    """Return the connected components of the truth that contain no predicted pixel."""
    _, labels = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
    return truth & ~np.isin(labels, labels[predicted])


def _densest(marked: Mask) -> tuple[slice, slice]:
    """Return a window around the peak of the blurred mask, or around the centre of an empty mask."""
    peak: Sequence[int] = [size // 2 for size in marked.shape]
    if marked.any():
        density = cv2.GaussianBlur(marked.astype(np.float32), (0, 0), WINDOW / 8)
        peak = np.unravel_index(int(density.argmax()), marked.shape)  # type: ignore[assignment]
    starts = (max(0, min(at - WINDOW // 2, size - WINDOW)) for at, size in zip(peak, marked.shape, strict=True))
    rows, columns = (slice(int(start), int(start) + WINDOW) for start in starts)
    return rows, columns


def _whole(picture: Picture, truth: Mask, predicted: Mask, window: tuple[slice, slice]) -> Image:
    panel, scale = _fit(_grey(picture)), PANEL / max(picture.shape)
    top, left = (_scaled(part.start, scale) for part in window)
    bottom, right = (_scaled(min(s.stop, size), scale) - 1 for s, size in zip(window, picture.shape, strict=True))
    cv2.rectangle(panel, (left, top), (right, bottom), WHITE, 1)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((truth | predicted).astype(np.uint8), connectivity=8)
    for k in range(1, count):
        here = labels == k
        colour = HIT if (here & truth & predicted).any() else MISSED if (here & truth).any() else FALSE
        x, y, w, h = (_scaled(int(value), scale) for value in stats[k, :4])
        cv2.rectangle(panel, (x - GAP, y - GAP), (x + w + GAP, y + h + GAP), colour, 1)
    return panel


def _grey(picture: Picture) -> Image:
    low, high = np.percentile(picture, (0.5, 99.9))
    grey = np.clip((picture.astype(np.float32) - low) / max(high - low, 1.0) * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


def _fit(image: Image) -> Image:
    """Scale an image to the panel size, keeping its aspect ratio; the rest of the panel is black."""
    height, width = (max(1, _scaled(size, PANEL / max(image.shape[:2]))) for size in image.shape[:2])
    # Magnified pixels stay visible as squares, so that they can be counted.
    how = cv2.INTER_AREA if max(image.shape[:2]) > PANEL else cv2.INTER_NEAREST
    panel = np.zeros((PANEL, PANEL, 3), np.uint8)
    panel[:height, :width] = cv2.resize(image, (width, height), interpolation=how)
    return panel


def _scaled(value: int, scale: float) -> int:
    return round(value * scale)


def _write(image: Image, text: str, x: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(image, text, (x, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
