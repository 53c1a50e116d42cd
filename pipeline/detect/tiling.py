"""Large pictures in overlapping tiles, and their maps put together again without seams."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


class Span(NamedTuple):
    """One tile along one axis: pixels start..stop are read, begin..end of them are kept."""

    start: int
    stop: int
    begin: int
    end: int


class Tile(NamedTuple):
    """One tile of a picture."""

    rows: Span
    columns: Span

    def cut(self, picture: NDArray[T]) -> NDArray[T]:
        """The tile's part of the last two axes of a picture, as a view."""
        return picture[..., self.rows.start : self.rows.stop, self.columns.start : self.columns.stop]


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Evenly spaced spans of ``tile`` pixels that cover an axis.

    Neighbours share at least ``overlap`` pixels and meet in the middle of what they share, so every
    pixel is kept once, from the tile in which it is farthest from the edge. A short axis is one span.

    Args:
        length: of the axis, >= 1.
        tile: pixels in a span.
        overlap: 0..tile - 1.
    """
    if length <= tile:
        return [Span(0, length, 0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [i * (length - tile) // (count - 1) for i in range(count)]
    meets = [0, *((b + a + tile) // 2 for a, b in pairwise(starts)), length]
    return [Span(start, start + tile, meets[i], meets[i + 1]) for i, start in enumerate(starts)]


def tiles(height: int, width: int, tile: int, overlap: int) -> list[Tile]:
    """All tiles of a picture, row by row; all have the same shape."""
    across = spans(width, tile, overlap)
    return [Tile(rows, columns) for rows in spans(height, tile, overlap) for columns in across]


def stitch(layout: Sequence[Tile], maps: Sequence[NDArray[T]]) -> NDArray[T]:
    """Put the maps (h, w) of the tiles together to one of the whole picture (H, W)."""
    if len(layout) == 1:
        return maps[0]
    last = layout[-1]
    whole = np.empty((last.rows.stop, last.columns.stop), maps[0].dtype)
    for (rows, columns), part in zip(layout, maps, strict=True):
        inner = part[rows.begin - rows.start :, columns.begin - columns.start :]
        kept = whole[rows.begin : rows.end, columns.begin : columns.end]
        kept[...] = inner[: kept.shape[0], : kept.shape[1]]
    return whole
