"""Cross-entropy plus soft IoU, on every head of a multi-scale network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTH = 1.0


def batch_soft_iou(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - (I + s) / (U + s), with I and U summed over the whole batch and s = 1 pixel.

    Pooling over the batch gives pictures without a target a gradient, and large targets no more than their pixels.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1].

    Returns:
        scalar in [0, 1).
    """
    probability = torch.sigmoid(logits.float())
    mask = mask.float()
    intersection = (probability * mask).sum()
    union = probability.sum() + mask.sum() - intersection
    return 1 - (intersection + SMOOTH) / (union + SMOOTH)


def picture_soft_iou(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - (I + s) / (U + s) of every picture by itself, averaged: a small dim target weighs as much as a large one.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1].

    Returns:
        scalar in [0, 1).
    """
    probability, mask = torch.sigmoid(logits.float()), mask.float()
    intersection = (probability * mask).sum(dim=(1, 2, 3))
    union = probability.sum(dim=(1, 2, 3)) + mask.sum(dim=(1, 2, 3)) - intersection
    return (1 - (intersection + SMOOTH) / (union + SMOOTH)).mean()


def mask_loss(logits: Tensor, mask: Tensor, cross_entropy: float) -> Tensor:
    """cross_entropy * BCE + the rest, in equal parts, of soft IoU over the batch and over each picture."""
    bce = F.binary_cross_entropy_with_logits(logits.float(), mask.float())
    iou = (batch_soft_iou(logits, mask) + picture_soft_iou(logits, mask)) / 2
    return cross_entropy * bce + (1 - cross_entropy) * iou


def multi_scale_loss(logits: Tensor, heads: Sequence[Tensor], mask: Tensor, cross_entropy: float) -> Tensor:
    """Mean loss of the fused logits and of every head against the mask max-pooled to the head's size.

    Args:
        logits: (N, 1, H, W).
        heads: (N, 1, H / 2^j, W / 2^j) for j = 0, 1, ...
        mask: (N, 1, H, W), H and W divisible by the largest stride.
        cross_entropy: weight of the cross-entropy in [0, 1].
    """
    losses = [mask_loss(logits, mask, cross_entropy)]
    for head in heads:
        stride = mask.shape[-1] // head.shape[-1]
        losses.append(mask_loss(head, F.max_pool2d(mask, stride), cross_entropy))
    return torch.stack(losses).mean()
