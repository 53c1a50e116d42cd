"""Draw tracks over the picture for an operator: unobtrusive, legible, and never covering the target."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.detect.masks import Polygon
from pipeline.messages import COASTING, CONFIRMED, MAX_SIDE, TENTATIVE, Table, Tracked
from pipeline.sinks.labels import Box, Label, LabelPlaces
from pipeline.sinks.stretch import Stretch
from pipeline.sinks.trails import Trails

Canvas = NDArray[np.uint8]
Colour = tuple[int, int, int]
Vector = NDArray[np.float64]
Segments = NDArray[np.float64]  # (n, 2, 2): start and end point, each (x, y)

LEGIBLE_WIDTH = 600
STRIP = 24
COLOURS: dict[int, Colour] = {TENTATIVE: (150, 150, 120), CONFIRMED: (90, 235, 90), COASTING: (60, 170, 255)}
WHITE: Colour = (225, 225, 225)
BLACK: Colour = (0, 0, 0)
MASKED: Colour = (110, 110, 110)
WARNING: Colour = (60, 170, 255)
_STRIP_GREY = 24
_CAPTION_MARGIN, _CAPTION_GAP = 8, 16
_TRAIL_DIM = 0.75
_CLEARANCE = 5.0
_MIN_HALF = 9.0
_SHIFT = 4
_MAX_DASHES = 41
_CORNERS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


class Overlay:
    """Draws the overlay of one source.

    Args:
        scale: integer magnification; None enlarges small pictures to at least ``LEGIBLE_WIDTH``, at most 4 times.
        trail_s: length in seconds of the trail behind a track.
        masked: polygons excluded from detection, in px of the source frame.
    """

    def __init__(self, scale: int | None, trail_s: float, masked: Sequence[Polygon] = ()) -> None:
        self._scale = scale
        self._masked = [np.array(polygon, float) for polygon in masked]
        self._stretch = Stretch()
        self._trails = Trails(trail_s)
        self._places = LabelPlaces()

    def follow(self, message: Tracked) -> None:
        """Note the tracks of a frame that is not drawn; frames of a source must be passed in order."""
        self._trails.update(message.track_table(), message.ego.matrix, message.header.pts)

    def draw(self, message: Tracked, picture: Picture, age_ms: float) -> Canvas:
        """Draw the picture of one frame with its tracks, and a strip of text below it.

        Args:
            message: tracks and ego-motion; frames of a source must be passed in order.
            picture: (H, W) in native counts.
            age_ms: time since capture in ms.

        Returns:
            (H', W', 3) BGR image, both sides even.
        """
        header, tracks = message.header, message.track_table()
        scale = self._scale or min(4, -(-LEGIBLE_WIDTH // header.width))
        gray = self._stretch(picture, header.pts)
        if scale > 1:
            gray = np.asarray(cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
        clean = np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), np.uint8)

        framed, canvas = _add_strip(clean)
        for polygon in self._masked:
            corners = _on_canvas(polygon, scale)
            _strokes(canvas, np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), MASKED)
        self.follow(message)
        for track in np.sort(tracks, order="state"):
            _mark(canvas, track, self._trails.of(int(track["id"])), scale)
        self._label(canvas, tracks, scale)
        for track in tracks:
            _restore_target(canvas, clean, track, scale)
        _caption(framed, message, age_ms)
        return framed

    def _label(self, canvas: Canvas, tracks: Table, scale: int) -> None:
        """Write the numbers of all tracks but tentative ones beside their marks."""
        numbered = tracks[tracks["state"] != TENTATIVE]
        labels = [
            Label(track, _size(str(track)), _edges(row, scale), _on_canvas(self._trails.of(track), scale))
            for row in numbered
            for track in (int(row["id"]),)
        ]
        marks = np.reshape([_edges(row, scale) for row in tracks], (-1, 4))
        places = self._places.choose(labels, marks, (canvas.shape[1], canvas.shape[0]))
        for row, label, (x, y) in zip(numbered, labels, places, strict=True):
            _text(canvas, str(label.track), x, y, COLOURS[int(row["state"])])


def _mark(canvas: Canvas, track: np.void, trail: NDArray[np.float64], scale: int) -> None:
    state = int(track["state"])
    colour = COLOURS[state]
    centre, half = _frame(track, scale)
    path = _on_canvas(trail, scale)
    outside = np.any(np.abs(path - centre) > half + 1, axis=1)
    dim = (int(colour[0] * _TRAIL_DIM), int(colour[1] * _TRAIL_DIM), int(colour[2] * _TRAIL_DIM))
    _strokes(canvas, np.stack([path[:-1], path[1:]], axis=1)[outside[:-1] & outside[1:]], dim)
    _strokes(canvas, _dashed_box(centre, half) if state == COASTING else _corners(centre, half), colour)


def _frame(track: np.void, scale: int) -> tuple[Vector, Vector]:
    """Return centre and half sides of the mark of a track, in canvas px."""
    centre = _on_canvas(np.array([track["x"], track["y"]]), scale)
    return centre, np.maximum(np.array([track["bw"], track["bh"]]) * scale / 2 + _CLEARANCE, _MIN_HALF)


def _edges(track: np.void, scale: int) -> Box:
    """Return left, top, right and lower edge of the mark of a track, in canvas px."""
    centre, half = _frame(track, scale)
    return np.concatenate([centre - half, centre + half])


def _on_canvas(points: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """Convert pixel coordinates of the source frame to those of the enlarged picture."""
    return (points + 0.5) * scale - 0.5


def _restore_target(canvas: Canvas, clean: Canvas, track: np.void, scale: int) -> None:
    """Restore the target's own pixels plus a margin of one, where marks of neighbouring tracks covered them."""
    centre, size = np.array([track["x"], track["y"]]), np.array([track["bw"], track["bh"]])
    first = np.floor(_on_canvas(centre - size / 2 - 0.5, scale)).clip(0, MAX_SIDE * scale).astype(int)
    last = np.ceil(_on_canvas(centre + size / 2 + 0.5, scale)).clip(-1, MAX_SIDE * scale).astype(int)
    inside = np.s_[first[1] : last[1] + 1, first[0] : last[0] + 1]
    canvas[inside] = clean[inside]


def _strokes(canvas: Canvas, segments: Segments, colour: Colour) -> None:
    """Draw lines of one pixel width, with a shadow that keeps them legible on bright background."""
    ends = np.round(np.clip(segments, -1e4, max(canvas.shape) + 1e4) * 2**_SHIFT).astype(int)
    for shift, ink in ((2**_SHIFT, BLACK), (0, colour)):
        for first, second in (ends + shift).tolist():
            cv2.line(canvas, first, second, ink, 1, cv2.LINE_AA, _SHIFT)


def _corners(centre: Vector, half: Vector) -> Segments:
    """Return the segments of a mark with two arms at each corner."""
    arm = np.maximum(half * 0.45, 3.0)
    ends = [
        (corner, corner - reach * side)
        for side in _CORNERS
        for corner in (centre + half * side,)
        for reach in (arm * (1, 0), arm * (0, 1))
    ]
    return np.array(ends)


def _dashed_box(centre: Vector, half: Vector) -> Segments:
    corners = centre + half * _CORNERS
    ends = []
    for first, second in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dashes = min(max(3, 2 * int(np.abs(second - first).max() // 8) + 1), _MAX_DASHES)
        step = (second - first) / dashes
        ends += [(first + i * step, first + (i + 1) * step) for i in range(0, dashes, 2)]
    return np.array(ends)


def _size(text: str) -> tuple[int, int]:
    """Return width and height of a text in px."""
    (width, height), _ = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)
    return width, height


def _text(canvas: Canvas, text: str, x: int, y: int, colour: Colour) -> None:
    # A shadow instead of a thicker outline, because the font weight may change the text width.
    cv2.putText(canvas, text, (x + 1, y + 1), _FONT, _FONT_SCALE, BLACK, 1, cv2.LINE_AA)
    cv2.putText(canvas, text, (x, y), _FONT, _FONT_SCALE, colour, 1, cv2.LINE_AA)


def _add_strip(clean: Canvas) -> tuple[Canvas, Canvas]:
    """Add a text strip below the picture, and pad to even sides as required by video encoders.

    Returns:
        The padded copy, and the view of its picture part.
    """
    height, width = clean.shape[:2]
    framed = np.full((height + STRIP + height % 2, width + width % 2, 3), _STRIP_GREY, np.uint8)
    canvas = framed[:height, :width]
    canvas[:] = clean
    return framed, canvas


def _caption(framed: Canvas, message: Tracked, age_ms: float) -> None:
    """Write the status of a frame into the strip below the picture. What has no room is left out, the age last."""
    header, states = message.header, message.track_table()["state"]
    confirmed, coasting = int((states == CONFIRMED).sum()), int((states == COASTING).sum())
    tracks = f"{confirmed} tracked" + (f", {coasting} coasting" if coasting else "")
    age = f"{age_ms:.0f} ms old" if age_ms < 10_000 else f"{age_ms / 1000:.0f} s old"
    left = [header.source, f"frame {header.frame}", f"{header.pts:.2f} s", tracks]
    right = [(age, WHITE)] + ([] if message.ego.ok else [("camera motion unknown", WARNING)])

    def too_wide() -> bool:
        widths = [_size(text)[0] + _CAPTION_GAP for text in ("    ".join(left), *(text for text, _ in right)) if text]
        return bool(sum(widths) - _CAPTION_GAP + 2 * _CAPTION_MARGIN > framed.shape[1])

    while left and too_wide():
        del left[0]
    while len(right) > 1 and too_wide():
        right.pop()
    line = framed.shape[0] - 8
    _text(framed, "    ".join(left), _CAPTION_MARGIN, line, WHITE)
    end = framed.shape[1] - _CAPTION_MARGIN
    for text, colour in right:
        end -= _size(text)[0]
        _text(framed, text, end, line, colour)
        end -= _CAPTION_GAP
