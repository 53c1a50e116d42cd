"""Places for the numbers of tracks: beside their marks and, if possible, clear of other numbers, marks and trails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Box = NDArray[np.float64]  # (4,): left, top, right and lower edge in px
Boxes = NDArray[np.float64]  # (n, 4)
Points = NDArray[np.float64]  # (n, 2): x and y in px

_DISTANCE = 4  # px between a mark and its number
_CORNERS = 8
_NEAR = 4  # the first corners, at which the number touches the mark's corner


class Label(NamedTuple):
    """The number of a track that is to be placed.

    Attributes:
        track: id of the track.
        size: width and height of the text in px.
        mark: edges of the track's mark.
        trail: positions of the track's trail.
    """

    track: int
    size: tuple[int, int]
    mark: Box
    trail: Points


class LabelPlaces:
    """Chooses a place for every number in the pictures of one source.

    A number keeps its corner from picture to picture until something else comes there, so that it does not jump.
    """

    def __init__(self) -> None:
        self._corner: dict[int, int] = {}

    def choose(self, labels: Iterable[Label], marks: Boxes, within: tuple[int, int]) -> list[tuple[int, int]]:
        """Return a place for each number of a picture: left and lower edge of the text in px.

        Other numbers matter most, then marks, then the track's own trail, then the distance from the mark. If nothing
        else decides, a number keeps its last corner, at first the upper right one. The text stays inside the picture
        unless it is wider.

        Args:
            labels: numbers to place; earlier ones choose first.
            marks: edges of the marks of all tracks, including those without a number.
            within: width and height of the picture.
        """
        corner: dict[int, int] = {}
        chosen = np.empty((0, 4))
        for label in labels:
            boxes = _candidates(label.size, label.mark, within)
            order = np.arange(_CORNERS)
            last = self._corner.get(label.track, 0)
            crossed = _inside(label.trail, boxes).any(axis=1)
            ranks = (order, order != last, order >= _NEAR, crossed, _overlaps(boxes, marks), _overlaps(boxes, chosen))
            best = int(np.lexsort(ranks)[0])
            corner[label.track] = best
            chosen = np.vstack([chosen, boxes[best]])
        self._corner = corner
        return [(int(left), int(bottom)) for left, _, _, bottom in chosen]


def _candidates(size: tuple[int, int], mark: Box, within: tuple[int, int]) -> Boxes:
    """Return the places beside a mark, (8, 4): right and left of its upper and lower corners, and beyond these."""
    (width, height), (left, top, right, bottom) = size, mark
    lines = np.repeat(np.array([top, bottom, bottom + 2 * height, top - 2 * height]) + height / 2, 2)
    starts = np.tile([right + _DISTANCE, left - _DISTANCE - width], 4)
    x = np.floor(np.maximum(np.minimum(starts, within[0] - 2 - width), 0))
    y = np.floor(np.minimum(np.maximum(lines, height + 2), within[1] - 3))
    return np.stack([x, y - height, x + width, y], axis=1)


def _overlaps(boxes: Boxes, others: Boxes) -> NDArray[np.int64]:
    """Return with how many of the other boxes each box (n, 4) overlaps or nearly touches."""
    a, b = boxes[:, None], others[None]
    apart = (a[..., :2] > b[..., 2:] + 1).any(axis=-1) | (b[..., :2] > a[..., 2:] + 1).any(axis=-1)
    return np.asarray((~apart).sum(axis=1))


def _inside(points: Points, boxes: Boxes) -> NDArray[np.bool_]:
    """Return which points lie in or next to each box, (boxes, points)."""
    return np.asarray(((points >= boxes[:, None, :2] - 1) & (points <= boxes[:, None, 2:] + 1)).all(axis=-1))
