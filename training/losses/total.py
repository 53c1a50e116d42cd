"""Total training loss, combined from the terms that a recipe selects."""

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
"""Logit of certain background, assigned to ignored pixels: it has no loss on background and no gradient."""
RIM = 3
"""Width in pixels of the zone around a target that is excluded from the hard negatives.

Its pixels would always be the hardest, and the predicted masks would become too small.
"""


def total_loss(
    logits: Tensor,
    heads: Sequence[Tensor],
    mask: Tensor,
    config: LossConfig,
    warm: bool = True,
    ignored: Tensor | None = None,
) -> Tensor:
    """Mean loss of the fused logits and every head, each against the mask max-pooled to its size.

    Args:
        logits: (N, 1, H, W), of any floating type; the loss is computed in float32.
        heads: (N, 1, h, w) at strides s of 1, 2, 4, ...; empty for a network with one output. s h and s w may exceed H
            and W by less than half, because the network pads its pictures.
        mask: (N, 1, H, W) in {0, 1}.
        config: loss section of the recipe.
        warm: whether the warm-up is over; see :class:`LossConfig`.
        ignored: (N, 1, H, W), bool, background pixels whose logits do not count. Pixels beyond the picture never count.
            A coarser pixel is ignored if any of its pixels is ignored and none is target.

    Returns:
        Scalar, float32.
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
    """Loss of one map (N, 1, H, W) against its mask, a scalar; see :class:`LossConfig`."""
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
    """Mean cross-entropy of the background pixels most similar to targets (OHEM: Shrivastava et al., CVPR 2016).

    Background outnumbers targets a thousand to one, so a false alarm has almost no weight in a plain mean. Pixels
    within ``RIM`` pixels of a target are left to the other terms.

    Args:
        logits: (N, 1, H, W), of any floating type.
        mask: same shape, in {0, 1}.
        share: fraction of the pixels of the batch to use, above 0; at least one pixel is used.

    Returns:
        Scalar, float32; within 1e-13 of 0 if there is no such background.
    """
    near = F.max_pool2d(mask, 2 * RIM + 1, stride=1, padding=RIM) > 0.5
    background = logits.float().masked_fill(near, SURELY_NOT)
    # Counts all pixels: counting background pixels, which are nearly all of them, would synchronise with the device.
    hardest = background.flatten().topk(max(1, int(share * background.numel()))).values
    return F.softplus(hardest).mean()
