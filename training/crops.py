"""Random training crops, cut and disturbed on the device. Every choice comes from the generator passed in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nets.normalisation import FrameZScore, normalise
from training.augment import disturb
from training.config import DataConfig
from training.paste import paste_targets
from training.placement import Placement, picked, place
from training.pool import Pool
from training.resample import lines, resample, resample_masks
from training.simulate import simulate_targets

RIM = 4
"""Pixels within which an edge that only the crop has hides what a target is; live, the only edges are the frame's."""
ABOUT = 4
"""Pixels around a target that change with it."""


class Batch(NamedTuple):
    """What one optimiser step learns from.

    Attributes:
        pictures: (N, C, crop, crop), float32, in the network's units, with the statistics of the whole frame as in
            live use.
        masks: (N, 1, crop, crop), float32 in {0, 1}.
        ignored: (N, 1, crop, crop), bool, where nobody can tell: doubtful targets, and what is near a cut; never where
            the mask is 1.
        sources: (N,), which source each is of.
        names: of the pictures, as ``folder/name``.
    """

    pictures: Tensor
    masks: Tensor
    ignored: Tensor
    sources: NDArray[np.int64]
    names: list[str]


class Crops(NamedTuple):
    """Crops before they are disturbed, with their margin: side = crop + 2 margin.

    Attributes:
        pictures: (N, side, side), float32, counts over the top of the bit depth.
        masks, ignored: (N, side, side), bool.
        changes: (N, C, side, side), float32, change pictures; C is 0 where the pool knows of none, else 1.
        cut: (N, side, side), bool, what lies within ``RIM`` of an edge of the crop that is none of the frame.
    """

    pictures: Tensor
    masks: Tensor
    ignored: Tensor
    changes: Tensor
    cut: Tensor


def draw_batch(pool: Pool, config: DataConfig, norm: FrameZScore, rng: Generator, size: int) -> Batch:
    """``size`` crops of pictures drawn from the sources by their weights.

    Crops are cut, disturbed and normalised with a margin that is then taken off: in live use, too, all pixels but
    those at the frame's border see their whole neighbourhood.
    """
    margin = max(norm.windows, default=1) // 2
    placement = place(pool, config, rng, size, margin)
    crops = cut_crops(pool, placement, config, margin)
    pictures, masks = paste_targets(crops.pictures, crops.masks, pool, placement, config, rng)
    pictures, mean, std = disturb(pictures[:, None], pool, placement.picture, config.augment, rng)
    pictures, masks = simulate_targets(pictures[:, 0], masks, pool, placement, config, rng)
    doubt = (crops.ignored & ~masks) | crops.cut
    tops = pool.to_device(pool.top[placement.picture])
    gain = 1 / (std * tops).clamp(min=norm.min_std)
    counts = pictures[:, None] * tops.view(-1, 1, 1, 1)
    whole = normalise(torch.cat([counts, _shown(crops.changes, masks, config, rng)], 1), mean * tops, gain, norm)
    inner = (..., slice(margin, margin + config.crop), slice(margin, margin + config.crop))
    return Batch(
        whole[inner].contiguous(),
        (masks & ~crops.cut)[:, None][inner].float().contiguous(),
        doubt[:, None][inner].contiguous(),
        placement.source,
        [
            f"{config.sources[s].folder}/{pool.names[p]}"
            for s, p in zip(placement.source, placement.picture, strict=True)
        ],
    )


def cut_crops(pool: Pool, placement: Placement, config: DataConfig, margin: int) -> Crops:
    """Read, resample and turn the crops of a placement."""
    side, most = config.crop + 2 * margin, int(placement.edge.max())
    across, upside, transposed, edge = map(pool.to_device, (*placement.turns, placement.edge))
    windows = pool.windows(placement.picture, placement.left, placement.top, most)
    whole = torch.full_like(edge, side)
    rows, columns = (lines(edge, whole, most, side, mirrored) for mirrored in (upside, across))
    resampled = resample(windows, rows, columns, transposed)
    level, share, unknown = resampled[:, :3].unbind(1)
    nearest = pool.to_device(picked(placement, config))
    turned = (upside, across)
    masks = resample_masks(share, windows[:, 1], (edge, edge), (whole, whole), turned, transposed, nearest)

    # The edges are told from the frame's before the turn, and turned along.
    place = torch.arange(side, device=pool.device)
    near = [
        ((place < margin + RIM) & pool.to_device(low)[:, None])
        | ((place >= side - margin - RIM) & pool.to_device(high)[:, None])
        for low, high in ((placement.cut_top, placement.cut_bottom), (placement.cut_left, placement.cut_right))
    ]
    down, along = (
        torch.where(mirrored[:, None], line.flip(1), line)
        for mirrored, line in zip((upside, across), near, strict=True)
    )
    cut = down[:, :, None] | along[:, None, :]
    return Crops(level, masks, unknown > 0, resampled[:, 3:], torch.where(transposed.view(-1, 1, 1), cut.mT, cut))


def _shown(changes: Tensor, masks: Tensor, config: DataConfig, rng: Generator) -> Tensor:
    """Change pictures (N, C, side, side) as they might have been as well.

    Where nothing is known, those of another crop but for its targets, as a camera that stands has them; of nothing
    known; stronger or weaker; and of targets that hover, which have hardly changed the places they are at.
    """
    if not changes.shape[1]:
        return changes
    size, augment = len(changes), config.augment
    wanted, lender = rng.random(size) < augment.lend, rng.integers(size, size=size)
    whole = (rng.random(size) >= augment.unseen) * np.exp(rng.uniform(-augment.change_gain, augment.change_gain, size))
    left = np.where(rng.random(size) < augment.hover, rng.random(size), 1.0)
    lent, gain, lost = (torch.from_numpy(part).to(changes).view(-1, 1, 1, 1) for part in (wanted, whole, 1 - left))
    about = F.max_pool2d(masks[:, None].to(changes), 2 * ABOUT + 1, 1, ABOUT)
    unknown = (changes == 0).all(dim=(1, 2, 3), keepdim=True)
    others = (changes * (1 - about))[torch.from_numpy(lender).to(changes.device)]
    return (changes + lent * unknown * others) * gain * (1 - lost * about)
