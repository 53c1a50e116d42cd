"""Copy-paste augmentation: the background-subtracted target of one frame is added to a crop of another frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.config import DataConfig
from training.placement import Placement, Turns, below, orientations, picked
from training.pool import Pool
from training.resample import lines, resample, resample_masks

MARGIN = 3  # px of surroundings cut out around a target
LARGEST = 32  # px, largest side of a pasted target
SIDE = LARGEST + 2 * MARGIN
ATTEMPTS = 8  # candidate places per target
GAIN = 0.25  # the contrast is multiplied by exp(u), with u uniform in [-GAIN, GAIN]


class CutOuts(NamedTuple):
    """N background-subtracted targets, each in the top-left corner of a square.

    Attributes:
        contrast: (N, SIDE, SIDE), float32, target minus the median of its surroundings, in standard deviations of these
            surroundings; fades to 0 around the target.
        masks: (N, SIDE, SIDE), bool.
        height, width: (N,), int64, size of the target including its margin, px.
    """

    contrast: Tensor
    masks: Tensor
    height: Tensor
    width: Tensor


def paste_targets(
    pictures: Tensor, masks: Tensor, pool: Pool, placement: Placement, config: DataConfig, rng: Generator
) -> tuple[Tensor, Tensor]:
    """Paste a target from a random picture of the same set into each crop, with the recipe's probability.

    The target is resampled with the magnification of the crop. A crop stays as it is if the target would be larger than
    ``LARGEST`` px, the picture chosen contains no target, or no free place is found.

    Args:
        pictures: (N, side, side), float32 in 0..1.
        masks: (N, side, side), bool.
        pool: The training pictures.
        placement: Source, magnification and position of the crops.
        config: The probability, and which sets may be mirrored and transposed.
        rng: Source of every random choice.

    Returns:
        The pictures and masks.
    """
    size, source = len(pictures), placement.source
    donors = pool.first[source] + below(rng, pool.count[source])
    held = pool.box_count[donors]
    wanted = (rng.random(size) < config.augment.paste) & (held > 0)
    chosen = pool.first_box[donors] + below(rng, held)
    turns = orientations(rng, [config.sources[k] for k in source])
    gain, places = np.exp(rng.uniform(-GAIN, GAIN, size)), rng.random((2, size, ATTEMPTS))
    if not wanted.any():
        return pictures, masks
    boxes = pool.boxes[np.where(wanted, chosen, 0)]
    wanted &= (boxes[:, 2:].max(1) + 2 * MARGIN) * np.maximum(placement.magnification, 1) <= SIDE
    cut = cut_outs(pool, donors, boxes, placement.magnification, turns, picked(placement, config))
    tops, lefts = pool.to_device(places.astype(np.float32))
    strength = pool.to_device(gain.astype(np.float32))
    count = 1 / pool.to_device(pool.top[placement.picture]).view(-1, 1, 1)
    return paste(pictures, masks, cut, pool.to_device(wanted), strength, tops, lefts, count)


def cut_outs(
    pool: Pool,
    pictures: NDArray[np.int64],
    boxes: NDArray[np.int64],
    magnification: NDArray[np.float64],
    turns: Turns,
    nearest: NDArray[np.bool_],
) -> CutOuts:
    """Cut out N targets, given the pictures (N,) and boxes (N, 4), and resample and orient them."""
    corner, size = boxes[:, :2] - MARGIN, boxes[:, 2:] + 2 * MARGIN
    picture, target = pool.windows(pictures, corner[:, 0], corner[:, 1], SIDE)[:, :2].unbind(1)
    line = torch.arange(SIDE, device=pool.device)
    frame = np.stack([pool.width[pictures], pool.height[pictures]], 1)
    least, most = (pool.to_device(end) for end in (np.maximum(0, -corner), np.minimum(size, frame - corner)))
    along, down = ((line >= least[:, k, None]) & (line < most[:, k, None]) for k in (0, 1))
    seen = down[:, :, None] & along[:, None, :]
    masks = (target > 0) & seen

    near = F.max_pool2d(masks[:, None].float(), 3, 1, 1)[:, 0]
    soft = F.avg_pool2d(near[:, None], 3, 1, 1)[:, 0] * seen
    around = seen & (near == 0)
    pixels = around.sum((1, 2))
    order = picture.masked_fill(~around, torch.inf).flatten(1).sort(1).values
    median = order.gather(1, ((pixels - 1).clamp(min=0) // 2)[:, None])[:, :, None]
    mean = (picture * around).sum((1, 2)) / pixels.clamp(min=1)
    variance = ((picture - mean.view(-1, 1, 1)) * around).square().sum((1, 2)) / (pixels - 1).clamp(min=1)
    spread = torch.maximum(variance.sqrt(), 1 / pool.to_device(pool.top[pictures])).view(-1, 1, 1)
    # A target that fills its frame has no surroundings, so its contrast is undefined and set to 0.
    contrast = torch.where((pixels > 1).view(-1, 1, 1), (picture - median) / spread * soft, 0.0)

    shorter = np.minimum(size, SIDE)
    magnified = np.clip(np.rint(shorter * magnification[:, None]), 1, SIDE).astype(np.int64)
    across, upside_down, transposed = map(pool.to_device, turns)
    old, new = ((pool.to_device(edges[:, 1]), pool.to_device(edges[:, 0])) for edges in (shorter, magnified))
    mirrored = (upside_down, across)
    rows, columns = (lines(old[k], new[k], SIDE, SIDE, mirrored[k]) for k in (0, 1))
    whole = masks.float()
    contrast, share = resample(torch.stack([contrast, whole], 1), rows, columns, transposed).unbind(1)
    shapes = resample_masks(share, whole, old, new, mirrored, transposed, pool.to_device(nearest))
    width, height = (np.where(turns.transposed, magnified[:, 1 - k], magnified[:, k]) for k in (0, 1))
    return CutOuts(contrast, shapes, pool.to_device(height), pool.to_device(width))


def paste(
    pictures: Tensor,
    masks: Tensor,
    cut: CutOuts,
    wanted: Tensor,
    gain: Tensor,
    tops: Tensor,
    lefts: Tensor,
    least: Tensor,
) -> tuple[Tensor, Tensor]:
    """Add targets, with scaled contrast, at places of the crops that contain no target.

    A target keeps its contrast in standard deviations of the surroundings, so that it stays as easy or hard to see.

    Args:
        pictures: (N, side, side), float32 in 0..1.
        masks: (N, side, side), bool.
        cut: N targets.
        wanted: (N,), bool, whether to add the target.
        gain: (N,), factor of the contrast.
        tops: (N, K), in 0..1, candidate rows, as fractions of the available range.
        lefts: (N, K), candidate columns, likewise.
        least: (N, 1, 1), lower limit of the standard deviation of the surroundings: one count, since a target would
            have no amplitude on a perfectly uniform background.

    Returns:
        The pictures and masks.
    """
    side = pictures.shape[1]
    room = [(side - length + 1)[:, None] for length in (cut.height, cut.width)]
    top, left = ((part * space.clamp(min=1)).long() for part, space in zip((tops, lefts), room, strict=True))
    # Integral image of the masks: the number of target pixels in a window follows from its four corners.
    sums = F.pad(masks.int().cumsum(1).cumsum(2), (1, 0, 1, 0)).flatten(1)
    ends = [(top, left), (top + cut.height[:, None], left + cut.width[:, None])]
    corners = {(i, j): ends[i][0] * (side + 1) + ends[j][1] for i in (0, 1) for j in (0, 1)}
    inside = {key: sums.gather(1, place.clamp(max=sums.shape[1] - 1)) for key, place in corners.items()}
    free = inside[1, 1] - inside[0, 1] - inside[1, 0] + inside[0, 0] == 0
    first = free.int().argmax(1, keepdim=True)
    wanted = wanted & free.any(1) & (room[0][:, 0] > 0) & (room[1][:, 0] > 0)

    line = torch.arange(side, device=pictures.device)
    row, column = (line - start.gather(1, first) for start in (top, left))
    down, along = ((p >= 0) & (p < length[:, None]) for p, length in ((row, cut.height), (column, cut.width)))
    window = down[:, :, None] & along[:, None, :] & wanted.view(-1, 1, 1)
    place = row.clamp(0, SIDE - 1)[:, :, None] * SIDE + column.clamp(0, SIDE - 1)[:, None, :]
    contrast, shape = (
        part.flatten(1).gather(1, place.flatten(1)).view_as(pictures) for part in (cut.contrast, cut.masks)
    )
    pixels = window.sum((1, 2)).clamp(min=1).view(-1, 1, 1)
    mean = (pictures * window).sum((1, 2), keepdim=True) / pixels
    spread = (((pictures - mean) * window).square().sum((1, 2), keepdim=True) / pixels).sqrt()
    added = (pictures + gain.view(-1, 1, 1) * torch.maximum(spread, least) * contrast).clamp(0, 1)
    return torch.where(window, added, pictures), masks | (window & shape)
