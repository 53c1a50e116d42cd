"""Static masks: areas of a source's picture without targets, such as the ship's own mast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.messages import MAX_SIDE, Table

Coordinate = Annotated[float, Meta(ge=-1, le=MAX_SIDE)]
Point = tuple[Coordinate, Coordinate]
Polygon = Annotated[list[Point], Meta(min_length=3)]
Masks = dict[str, list[Polygon]]
ALL = "*"
_FRACTION_BITS = 4


def polygons_of(masks: Mapping[str, Sequence[Polygon]], source: str) -> list[Polygon]:
    """Return the polygons of a source: those for all sources, and its own."""
    return [*masks.get(ALL, ()), *masks.get(source, ())]


def draw(polygons: Sequence[Polygon], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Rasterise polygons to a mask (H, W) of the given shape, True inside any of them, edges included."""
    canvas = np.zeros(shape, np.uint8)
    for polygon in polygons:
        corners = np.round(np.array(polygon) * 2**_FRACTION_BITS).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 1, cv2.LINE_8, _FRACTION_BITS)
    return canvas.astype(bool)


def outside_mask(detections: Table, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask (n,) of the detections whose centroid is not on a True pixel of ``mask`` (H, W)."""
    height, width = mask.shape
    rows = np.round(detections["y"]).astype(int).clip(0, height - 1)
    columns = np.round(detections["x"]).astype(int).clip(0, width - 1)
    return np.asarray(~mask[rows, columns])
