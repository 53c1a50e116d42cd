"""Static masks: areas of a source's picture in which nothing is ever a target, such as the ship's own mast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.messages import MAX_SIDE, Table

Coordinate = Annotated[float, Meta(ge=-1, le=MAX_SIDE)]
Point = tuple[Coordinate, Coordinate]
Polygon = Annotated[list[Point], Meta(min_length=3)]
Masks = dict[str, list[Polygon]]
ALL = "*"
_FRACTION_BITS = 4


def check_names(masks: Mapping[str, Sequence[Polygon]], sources: Iterable[str]) -> None:
    """Refuse masks of sources that are not there.

    Raises:
        ConfigError: names them, and the sources that are.
    """
    known = list(sources)
    if unknown := masks.keys() - {ALL, *known}:
        names = ", ".join(sorted(unknown))
        raise ConfigError(f"detect.masks: no source is named {names}; there is {', '.join(known)}")


def polygons_of(masks: Mapping[str, Sequence[Polygon]], source: str) -> list[Polygon]:
    """The polygons of a source: its own and those of all."""
    return [*masks.get(ALL, ()), *masks.get(source, ())]


def draw(polygons: Sequence[Polygon], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (H, W) of ``shape`` that lie in any of the polygons, their edges included."""
    canvas = np.zeros(shape, np.uint8)
    for polygon in polygons:
        corners = np.round(np.array(polygon) * 2**_FRACTION_BITS).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 1, cv2.LINE_8, _FRACTION_BITS)
    return canvas.astype(bool)


def outside_mask(detections: Table, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the centroid of each of the detections (n,) is in no masked pixel of ``mask`` (H, W)."""
    height, width = mask.shape
    rows = np.round(detections["y"]).astype(int).clip(0, height - 1)
    columns = np.round(detections["x"]).astype(int).clip(0, width - 1)
    return np.asarray(~mask[rows, columns])
