"""The loss that a network is trained with, put together from its recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from training.losses.config import LossConfig
from training.losses.location import centroid_location, published_location
from training.losses.overlap import batch_soft_iou, picture_soft_iou, soft_dice, soft_iou
from training.losses.scale import scale_iou

OVERLAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "iou": soft_iou,
    "batch_iou": batch_soft_iou,
    "picture_iou": picture_soft_iou,
    "dice": soft_dice,
}
LOCATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "published": published_location,
    "centroid": centroid_location,
}


SURELY_NOT = -30.0
"""A logit that costs nothing on background, and has no gradient."""
RIM = 3
"""Pixels around a target that are no hard negatives: they would always be the hardest, and the masks too small."""


def total_loss(
    logits: Tensor,
    heads: Sequence[Tensor],
    mask: Tensor,
    config: LossConfig,
    warm: bool = True,
    ignored: Tensor | None = None,
) -> Tensor:
    """Mean loss of the fused logits and of every head against the mask max-pooled to the head's size.

    Args:
        logits: (N, 1, H, W), of any floating type; the loss is computed in float32.
        heads: (N, 1, h, w) at strides s of 1, 2, 4, ...; none for a network of one output. s h and s w may exceed
            H and W, by less than half, as the network pads its pictures.
        mask: (N, 1, H, W) in {0, 1}.
        config: the recipe's loss.
        warm: whether the run's warm-up is over; see :class:`LossConfig`.
        ignored: (N, 1, H, W), bool, background pixels whose logits do not count, as those beyond the picture never
            do; a coarser pixel is ignored if one of its pixels is and none is target.

    Returns:
        scalar, float32.
    """
    losses = []
    unknown = torch.zeros_like(mask) if ignored is None else ignored.to(mask.dtype)
    for scores in (logits, *heads):
        height, width = scores.shape[-2:]
        stride = 2 ** math.ceil(math.log2(mask.shape[-1] / width))
        padding = (0, stride * width - mask.shape[-1], 0, stride * height - mask.shape[-2])
        truth = F.max_pool2d(F.pad(mask, padding), stride)
        beside = F.max_pool2d(F.pad(unknown, padding, value=1.0), stride) > truth
        losses.append(map_loss(scores.masked_fill(beside, SURELY_NOT), truth, config, warm))
    return torch.stack(losses).mean()


def map_loss(logits: Tensor, mask: Tensor, config: LossConfig, warm: bool = True) -> Tensor:
    """The loss of one map (N, 1, H, W) against its mask, a scalar; see :class:`LossConfig`."""
    if config.overlap == "scale":
        overlap = scale_iou(logits, mask, config.scale if warm else None, config.detach)
    else:
        overlap = OVERLAPS[config.overlap](logits, mask)
    entropy = F.binary_cross_entropy_with_logits(logits.float(), mask.float())
    loss = config.cross_entropy * entropy + (1 - config.cross_entropy) * overlap
    if warm and config.location != "none":
        loss = loss + config.location_weight * LOCATIONS[config.location](logits, mask)
    if warm and config.hard_weight:
        loss = loss + config.hard_weight * hard_negatives(logits, mask, config.hard_share)
    return loss


def hard_negatives(logits: Tensor, mask: Tensor, share: float) -> Tensor:
    """Mean cross-entropy of the background pixels that look most like targets (OHEM: Shrivastava et al., CVPR 2016).

    Background outnumbers targets a thousand to one, so in a plain mean a false alarm weighs next to nothing. What lies
    within ``RIM`` pixels of a target is left to the other terms.

    Args:
        logits: (N, 1, H, W), of any floating type.
        mask: the same shape, in {0, 1}.
        share: of the pixels of the batch, above 0; at least one counts.

    Returns:
        scalar, float32; 0 to 1e-13 where there is no such background.
    """
    near = F.max_pool2d(mask, 2 * RIM + 1, stride=1, padding=RIM) > 0.5
    background = logits.float().masked_fill(near, SURELY_NOT)
    # Of all pixels, so that nothing waits for the device to count those of the background, which are nearly all.
    hardest = background.flatten().topk(max(1, int(share * background.numel()))).values
    return F.softplus(hardest).mean()
