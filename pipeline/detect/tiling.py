"""Split large pictures into overlapping tiles, and stitch the maps of the tiles without seams."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


class Span(NamedTuple):
    """Extent of a tile along one axis: pixels start..stop are the input, and begin..end of them are kept."""

    start: int
    stop: int
    begin: int
    end: int


class Tile(NamedTuple):
    """A tile of a picture."""

    rows: Span
    columns: Span

    def cut(self, picture: NDArray[T]) -> NDArray[T]:
        """Return a view of the tile's part of a picture, along the last two axes."""
        return picture[..., self.rows.start : self.rows.stop, self.columns.start : self.columns.stop]


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Return evenly spaced spans of ``tile`` pixels that cover an axis.

    Neighbours overlap by at least ``overlap`` pixels, and their kept parts meet in the middle of the overlap. Every
    pixel is thus kept once, from the tile in which it is farthest from the edge. A short axis is one span.

    Args:
        length: Length of the axis in px, >= 1.
        tile: Length of a span in px.
        overlap: Minimum overlap in px, 0..tile - 1.
    """
    if length <= tile:
        return [Span(0, length, 0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [i * (length - tile) // (count - 1) for i in range(count)]
    meets = [0, *((b + a + tile) // 2 for a, b in pairwise(starts)), length]
    return [Span(start, start + tile, meets[i], meets[i + 1]) for i, start in enumerate(starts)]


def tiles(height: int, width: int, tile: int, overlap: int) -> list[Tile]:
    """Return all tiles of a picture, row by row; all have the same shape."""
    across = spans(width, tile, overlap)
    return [Tile(rows, columns) for rows in spans(height, tile, overlap) for columns in across]


def stitch(layout: Sequence[Tile], maps: Sequence[NDArray[T]]) -> NDArray[T]:
    """Stitch the maps (h, w) of the tiles to one map (H, W) of the whole picture."""
    if len(layout) == 1:
        return maps[0]
    last = layout[-1]
    whole = np.empty((last.rows.stop, last.columns.stop), maps[0].dtype)
    for (rows, columns), part in zip(layout, maps, strict=True):
        inner = part[rows.begin - rows.start :, columns.begin - columns.start :]
        kept = whole[rows.begin : rows.end, columns.begin : columns.end]
        kept[...] = inner[: kept.shape[0], : kept.shape[1]]
    return whole
