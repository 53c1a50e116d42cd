"""Random position, magnification and orientation of training crops, drawn at once for a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.config import DataConfig, SourceConfig
from training.pool import Pool

MIN_EDGE = 8
"""Smallest side of the square that a crop is resampled from, px of the picture."""

IntArray = NDArray[np.int64]


class Turns(NamedTuple):
    """Orientation of N squares as three flags (N,), bool: mirrored left-right, mirrored top-bottom, then transposed."""

    across: NDArray[np.bool_]
    upside_down: NDArray[np.bool_]
    transposed: NDArray[np.bool_]


class Placement(NamedTuple):
    """Placement of N crops.

    Attributes:
        source, picture: (N,), index of the source, and of the picture in the pool.
        magnification: (N,), crop pixels per picture pixel.
        edge: (N,), side of the square shown by the crop, including the margin, px of the picture.
        left, top: (N,), first column and row of that square.
        cut_left, cut_right, cut_top, cut_bottom: (N,), bool, whether that edge of the crop is not an edge of the frame.
        turns: Orientation of the crops.
    """

    source: IntArray
    picture: IntArray
    magnification: NDArray[np.float64]
    edge: IntArray
    left: IntArray
    top: IntArray
    cut_left: NDArray[np.bool_]
    cut_right: NDArray[np.bool_]
    cut_top: NDArray[np.bool_]
    cut_bottom: NDArray[np.bool_]
    turns: Turns


def place(pool: Pool, config: DataConfig, rng: Generator, size: int, margin: int) -> Placement:
    """Choose ``size`` crops of pictures drawn from the sources in proportion to their weights.

    A crop lies inside its frame if it fits. If it is placed on a target or a change, the centre of that lies anywhere
    in the crop except in its outermost pixels. All other crops lie anywhere.

    Args:
        pool: The training pictures.
        config: Side of the crops, and weights and magnifications of the sources.
        rng: Source of every random choice.
        size: Number of crops N.
        margin: Additional pixels cut on each side of a crop, px of the crop.
    """
    weights = np.array([source.weight for source in config.sources])
    scales = np.log([source.scale for source in config.sources])
    source = rng.choice(len(weights), size, p=weights / weights.sum())
    picture = pool.first[source] + below(rng, pool.count[source])
    magnification = np.exp(rng.uniform(scales[source, 0], scales[source, 1]))
    inner = np.maximum(MIN_EDGE, np.rint(config.crop / magnification).astype(np.int64))
    edge = np.maximum(MIN_EDGE, np.rint((config.crop + 2 * margin) / magnification).astype(np.int64))

    held = pool.box_count[picture]
    wanted = (rng.random(size) < config.on_target) & (held > 0)
    starts = []
    box = (
        pool.boxes[np.where(wanted, pool.first_box[picture] + below(rng, np.maximum(held, 1)), 0)]
        if held.any()
        else None
    )
    if config.on_change and (changing := pool.spot_count[picture]).any():
        sought = (rng.random(size) < config.on_change) & ~wanted & (changing > 0)
        spot = pool.spots[np.where(sought, pool.first_spot[picture] + below(rng, np.maximum(changing, 1)), 0)]
        box = spot if box is None else np.where(sought[:, None], spot, box)
        wanted |= sought
    rim = np.minimum(4, inner // 4)
    for axis, length in ((0, pool.width[picture]), (1, pool.height[picture])):
        start = below(rng, np.maximum(1, length - inner + 1))
        if box is not None:
            middle = np.rint(box[:, axis] + box[:, axis + 2] / 2).astype(np.int64)
            start = np.where(wanted, middle - rim - below(rng, inner - 2 * rim), start)
        starts.append(np.clip(start, 0, np.maximum(0, length - inner)))
    left, top = starts
    outer = (edge - inner) // 2
    return Placement(
        source,
        picture,
        magnification,
        edge,
        left - outer,
        top - outer,
        left > 0,
        left + inner != pool.width[picture],
        top > 0,
        top + inner != pool.height[picture],
        orientations(rng, [config.sources[k] for k in source]),
    )


def orientations(rng: Generator, sources: Sequence[SourceConfig]) -> Turns:
    """Draw an orientation that the recipe allows for each source in the sequence."""
    flips = rng.integers(2, size=(3, len(sources))).astype(bool)
    mirrored = np.array([source.turned is True for source in sources])
    transposed = np.array([source.turned is not False for source in sources])
    return Turns(flips[0] & mirrored, flips[1] & mirrored, flips[2] & transposed)


def picked(placement: Placement, config: DataConfig) -> NDArray[np.bool_]:
    """Return for each crop whether its mask is resampled by the nearest pixel, (N,)."""
    return np.array([source.masks_by == "nearest" for source in config.sources])[placement.source]


def below(rng: Generator, ends: IntArray) -> IntArray:
    """Draw an integer from 0 (inclusive) to each end (exclusive)."""
    return (rng.random(len(ends)) * ends).astype(np.int64)
