"""Copy-paste of targets: a target of one frame, less its background, is added to a crop of another."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from training.pool import Held

MARGIN = 3
LARGEST = 32
ATTEMPTS = 8
GAIN = 0.25


class CutOut(NamedTuple):
    """A target without its background.

    Attributes:
        contrast: (h, w), float32, target less the median of its surroundings, fading to 0 around it; in standard
            deviations of these surroundings.
        mask: (h, w), bool.
    """

    contrast: Tensor
    mask: Tensor


def cut_out(donor: Held, rng: Generator) -> CutOut:
    """A random target of a frame that holds one."""
    x, y, w, h = (int(v) for v in donor.boxes[rng.integers(len(donor.boxes))])
    window = (slice(max(0, y - MARGIN), y + h + MARGIN), slice(max(0, x - MARGIN), x + w + MARGIN))
    mask, picture = donor.mask[window], donor.counts[window].float() / donor.top
    near = F.max_pool2d(mask[None, None].float(), 3, 1, 1)
    around = picture[near[0, 0] == 0]
    if around.numel() < 2:  # a target that fills its frame has no surroundings
        return CutOut(torch.zeros_like(picture), torch.zeros_like(mask))
    soft = F.avg_pool2d(near, 3, 1, 1, count_include_pad=False)[0, 0]
    spread = around.std().clamp(min=1 / donor.top)
    return CutOut((picture - around.median()) / spread * soft, mask)


def orientation(turned: bool, rng: Generator) -> tuple[int, bool]:
    """Quarter turns, and whether mirrored first: one of eight at random, or as it is."""
    return (int(rng.integers(4)), bool(rng.integers(2))) if turned else (0, False)


def paste(picture: Tensor, mask: Tensor, target: CutOut, turned: bool, rng: Generator) -> tuple[Tensor, Tensor]:
    """Add a slightly dimmed or brightened target where the crop holds none.

    The target keeps its contrast in standard deviations of the surroundings, so it is as easy or hard to see as it
    was. Targets larger than ``LARGEST`` px, and crops with no free place found, are left as they are.

    Args:
        picture: (crop, crop), float32 in 0..1.
        mask: (crop, crop), bool.
        target: what to add.
        turned: whether in a random orientation.
        rng: place, orientation and gain come from it.
    """
    turns, flip = orientation(turned, rng)
    contrast, shape = (torch.rot90(plane.flip(1) if flip else plane, turns) for plane in target)
    height, width = shape.shape
    gain = math.exp(rng.uniform(-GAIN, GAIN))
    rows, columns = picture.shape[0] - height + 1, picture.shape[1] - width + 1
    if max(height, width) > LARGEST or min(rows, columns) < 1:
        return picture, mask
    for _ in range(ATTEMPTS):
        top, left = int(rng.integers(rows)), int(rng.integers(columns))
        window = (slice(top, top + height), slice(left, left + width))
        if not mask[window].any():
            picture, mask = picture.clone(), mask.clone()
            spread = picture[window].std(correction=0)
            picture[window] = (picture[window] + gain * spread * contrast).clamp(0, 1)
            mask[window] |= shape
            break
    return picture, mask
