"""Random training crops, cut and augmented on the device. The generator passed in determines every random choice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nets.normalisation import FrameZScore, normalise
from training.augment import augment_crops
from training.config import DataConfig
from training.paste import paste_targets
from training.placement import Placement, picked, place
from training.pool import Pool
from training.resample import lines, resample, resample_masks
from training.simulate import simulate_targets

RIM = 4
"""Width of the band, px, along crop edges inside the frame that is ignored, since such an edge may cut a target.
In live use the only edges are those of the frame."""
CHANGE_MARGIN = 4
"""Distance from a target, px, within which changes are attributed to it."""


class Batch(NamedTuple):
    """The crops of one optimiser step.

    Attributes:
        pictures: (N, C, crop, crop), float32, network input, normalised with the statistics of the whole frame as in
            live use.
        masks: (N, 1, crop, crop), float32 in {0, 1}.
        ignored: (N, 1, crop, crop), bool, ignore mask: uncertain targets and the band along cut edges; never set where
            the mask is 1.
        sources: (N,), index of the source of each crop.
        names: Names of the pictures as ``folder/name``.
    """

    pictures: Tensor
    masks: Tensor
    ignored: Tensor
    sources: NDArray[np.int64]
    names: list[str]


class Crops(NamedTuple):
    """Crops before augmentation, including their margin: side = crop + 2 margin.

    Attributes:
        pictures: (N, side, side), float32, counts divided by the maximum of the bit depth.
        masks, ignored: (N, side, side), bool.
        changes: (N, C, side, side), float32, change pictures; C is 0 if the pool has none, else 1.
        cut: (N, side, side), bool, pixels within ``RIM`` of a crop edge that is not an edge of the frame.
    """

    pictures: Tensor
    masks: Tensor
    ignored: Tensor
    changes: Tensor
    cut: Tensor


def draw_batch(pool: Pool, config: DataConfig, norm: FrameZScore, rng: Generator, size: int) -> Batch:
    """Draw ``size`` crops from the sources, in proportion to their weights.

    Crops are cut, augmented and normalised with a margin that is removed afterwards. So all pixels are normalised with
    their full neighbourhood, as in live use, where only pixels at the frame border lack it.
    """
    margin = max(norm.windows, default=1) // 2
    placement = place(pool, config, rng, size, margin)
    crops = cut_crops(pool, placement, config, margin)
    pictures, masks = paste_targets(crops.pictures, crops.masks, pool, placement, config, rng)
    pictures, mean, std = augment_crops(pictures[:, None], pool, placement.picture, config.augment, rng)
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
    """Read, resample and orient the crops of a placement."""
    side, most = config.crop + 2 * margin, int(placement.edge.max())
    across, upside_down, transposed, edge = map(pool.to_device, (*placement.turns, placement.edge))
    windows = pool.windows(placement.picture, placement.left, placement.top, most)
    whole = torch.full_like(edge, side)
    rows, columns = (lines(edge, whole, most, side, mirrored) for mirrored in (upside_down, across))
    resampled = resample(windows, rows, columns, transposed)
    level, share, unknown = resampled[:, :3].unbind(1)
    nearest = pool.to_device(picked(placement, config))
    turned = (upside_down, across)
    masks = resample_masks(share, windows[:, 1], (edge, edge), (whole, whole), turned, transposed, nearest)

    # Cut edges are known in the orientation of the frame, so their bands are mirrored and transposed like the crops.
    place = torch.arange(side, device=pool.device)
    near = [
        ((place < margin + RIM) & pool.to_device(low)[:, None])
        | ((place >= side - margin - RIM) & pool.to_device(high)[:, None])
        for low, high in ((placement.cut_top, placement.cut_bottom), (placement.cut_left, placement.cut_right))
    ]
    down, along = (
        torch.where(mirrored[:, None], line.flip(1), line)
        for mirrored, line in zip((upside_down, across), near, strict=True)
    )
    cut = down[:, :, None] | along[:, None, :]
    return Crops(level, masks, unknown > 0, resampled[:, 3:], torch.where(transposed.view(-1, 1, 1), cut.mT, cut))


def _shown(changes: Tensor, masks: Tensor, config: DataConfig, rng: Generator) -> Tensor:
    """Augment change pictures (N, C, side, side).

    A crop with unknown changes may get those of another crop without its targets, as if a static camera had filmed it
    (``lend``). Change pictures may also be zeroed (``unseen``) or scaled (``change_gain``), and attenuated at targets,
    because a hovering target changes hardly anything (``hover``).
    """
    if not changes.shape[1]:
        return changes
    size, augment = len(changes), config.augment
    wanted, lender = rng.random(size) < augment.lend, rng.integers(size, size=size)
    whole = (rng.random(size) >= augment.unseen) * np.exp(rng.uniform(-augment.change_gain, augment.change_gain, size))
    left = np.where(rng.random(size) < augment.hover, rng.random(size), 1.0)
    lent, gain, lost = (torch.from_numpy(part).to(changes).view(-1, 1, 1, 1) for part in (wanted, whole, 1 - left))
    about = F.max_pool2d(masks[:, None].to(changes), 2 * CHANGE_MARGIN + 1, 1, CHANGE_MARGIN)
    unknown = (changes == 0).all(dim=(1, 2, 3), keepdim=True)
    others = (changes * (1 - about))[torch.from_numpy(lender).to(changes.device)]
    return (changes + lent * unknown * others) * gain * (1 - lost * about)
