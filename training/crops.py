"""Random training crops, cut and disturbed on the device. Every choice comes from the generator passed in."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from nets.normalisation import FrameZScore, normalise
from training.augment import disturb
from training.config import DataConfig, SourceConfig
from training.paste import cut_out, orientation, paste
from training.pool import Held

RIM = 4
"""Pixels within which an edge that only the crop has hides what a target is; live, the only edges are the frame's."""


class Batch(NamedTuple):
    """What one optimiser step learns from.

    Attributes:
        pictures: (N, C, crop, crop), float32, in the network's units, with the statistics of the whole frame as in
            live use.
        masks: (N, 1, crop, crop), float32 in {0, 1}.
        ignored: (N, 1, crop, crop), bool, where nobody can tell: doubtful targets, and what is near a cut; never where
            the mask is 1.
        names: of the pictures, as ``folder/name``.
    """

    pictures: Tensor
    masks: Tensor
    ignored: Tensor
    names: list[str]


def draw_batch(training: list[list[Held]], config: DataConfig, norm: FrameZScore, rng: Generator, size: int) -> Batch:
    """``size`` crops of pictures drawn from the sources by their weights.

    Crops are cut, disturbed and normalised with a margin that is then taken off: in live use, too, all pixels but
    those at the frame's border see their whole neighbourhood.
    """
    margin = max(norm.windows, default=1) // 2
    weights = np.array([source.weight for source in config.sources])
    chosen, crops, masks, unknown, names = [], [], [], [], []
    for index in rng.choice(len(training), size=size, p=weights / weights.sum()):
        source = config.sources[index]
        held = training[index][rng.integers(len(training[index]))]
        crop, mask, ignored, cut = draw_crop(held, config, source, rng, margin)
        if rng.random() < config.augment.paste:
            donor = training[index][rng.integers(len(training[index]))]
            if len(donor.boxes):
                crop, mask = paste(crop, mask, cut_out(donor, rng), source.turned, rng)
        chosen.append(held)
        crops.append(crop)
        masks.append(mask & ~cut)
        unknown.append((ignored & ~mask) | cut)
        names.append(f"{source.folder}/{held.name}")
    pictures, mean, std = disturb(torch.stack(crops)[:, None], chosen, config.augment, rng)
    tops = pictures.new_tensor([held.top for held in chosen])
    gain = 1 / (std * tops).clamp(min=norm.min_std)
    counts = pictures * tops.view(-1, 1, 1, 1)
    inner = (..., slice(margin, margin + config.crop), slice(margin, margin + config.crop))
    whole = normalise(counts, mean * tops, gain, norm)
    truth, doubt = (torch.stack(planes)[:, None][inner] for planes in (masks, unknown))
    return Batch(whole[inner].contiguous(), truth.float().contiguous(), doubt.contiguous(), names)


def draw_crop(
    held: Held, config: DataConfig, source: SourceConfig, rng: Generator, margin: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One crop at a random place, magnification and, if wanted, orientation, with ``margin`` px more on each side.

    Returns:
        picture (side, side), float32, counts over the top of the bit depth; mask, ignored and cut (side, side),
        bool; with side = crop + 2 margin. Cut is what lies within ``RIM`` of an edge of the crop that is none of the
        frame.
    """
    least, most = (math.log(end) for end in source.scale)
    magnification = math.exp(rng.uniform(least, most))
    side, inner = config.crop + 2 * margin, max(8, round(config.crop / magnification))
    edge = max(8, round(side / magnification))
    starts = _place(held, inner, config.on_target, rng)
    left, top = (start - (edge - inner) // 2 for start in starts)
    picture = _cut(held.counts, left, top, edge) / held.top
    mask, ignored = (_cut(plane, left, top, edge) for plane in (held.mask, held.ignored))
    if edge != side:
        picture, cover = _resize(picture, side), _resize(mask, side)
        # A target smaller than one new pixel keeps its most covered pixels: it dims, but does not cease to exist.
        mask = (cover > 0.5 * cover.max().clamp(max=1)).float()
        ignored = _resize(ignored, side)
    cut = torch.ones_like(mask)
    columns, rows = (
        slice(margin + RIM * (start > 0), side - margin - RIM * (start + inner != size))
        for start, size in zip(starts, reversed(held.counts.shape), strict=True)
    )
    cut[rows, columns] = 0
    turns, flip = orientation(source.turned, rng)
    if flip:
        picture, mask, ignored, cut = (plane.flip(1) for plane in (picture, mask, ignored, cut))
    mask, ignored, cut = (torch.rot90(plane, turns) > 0 for plane in (mask, ignored, cut))
    return torch.rot90(picture, turns), mask, ignored, cut


def _place(held: Held, edge: int, on_target: float, rng: Generator) -> tuple[int, int]:
    """Top-left corner of a crop inside the frame where it fits; a target lies anywhere in it, or not at all."""
    height, width = held.counts.shape
    if len(held.boxes) and rng.random() < on_target:
        x, y, w, h = held.boxes[rng.integers(len(held.boxes))]
        margin = min(4, edge // 4)
        left, top = (round(c) - int(rng.integers(margin, edge - margin)) for c in (x + w / 2, y + h / 2))
    else:
        left, top = (int(rng.integers(max(1, size - edge + 1))) for size in (width, height))
    return min(max(left, 0), max(0, width - edge)), min(max(top, 0), max(0, height - edge))


def _cut(plane: Tensor, left: int, top: int, edge: int) -> Tensor:
    """The square as float32, filled by reflection (of picture and mask alike) where it leaves the frame."""
    height, width = plane.shape
    rows, columns = _reflected(top, edge, height), _reflected(left, edge, width)
    part = plane.index_select(0, rows.to(plane.device)).index_select(1, columns.to(plane.device))
    return part.float()


def _reflected(start: int, length: int, size: int) -> Tensor:
    """Indices of a stretch of a line of ``size`` that is mirrored at its ends, its last pixels not repeated."""
    period = max(1, 2 * (size - 1))
    place = torch.arange(start, start + length) % period
    return torch.minimum(place, period - place)


def _resize(plane: Tensor, edge: int) -> Tensor:
    return F.interpolate(plane[None, None], (edge, edge), mode="bilinear", antialias=True)[0, 0]
