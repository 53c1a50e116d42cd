"""Overlap losses between predicted and true masks: soft IoU and Dice."""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTH = 1.0


def areas(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the soft intersection I, predicted area P and true area T of every picture.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1].

    Returns:
        Three tensors (N,), float32, in pixels.
    """
    probability, mask = torch.sigmoid(logits.float()), mask.float()
    return (
        (probability * mask).sum(dim=(1, 2, 3)),
        probability.sum(dim=(1, 2, 3)),
        mask.sum(dim=(1, 2, 3)),
    )


def batch_soft_iou(logits: Tensor, mask: Tensor) -> Tensor:
    """Loss 1 - (I + s) / (U + s), with I and U summed over the whole batch and s = 1 pixel.

    Pooling over the batch gives pictures without a target a gradient and weights targets by their number of pixels.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1].

    Returns:
        Scalar in [0, 1).
    """
    probability = torch.sigmoid(logits.float())
    mask = mask.float()
    intersection = (probability * mask).sum()
    union = probability.sum() + mask.sum() - intersection
    return 1 - (intersection + SMOOTH) / (union + SMOOTH)


def picture_soft_iou(logits: Tensor, mask: Tensor) -> Tensor:
    """Loss 1 - (I + s) / (U + s) per picture, averaged: a small dim target weighs as much as a large one.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1].

    Returns:
        Scalar in [0, 1).
    """
    intersection, predicted, true = areas(logits, mask)
    union = predicted + true - intersection
    return (1 - (intersection + SMOOTH) / (union + SMOOTH)).mean()


def soft_iou(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean of :func:`batch_soft_iou` and :func:`picture_soft_iou`."""
    return (batch_soft_iou(logits, mask) + picture_soft_iou(logits, mask)) / 2


def soft_dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Loss 1 - (2 I + s) / (P + T + s) per picture, averaged, with s = 1 pixel.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1].

    Returns:
        Scalar in [0, 1).
    """
    intersection, predicted, true = areas(logits, mask)
    return (1 - (2 * intersection + SMOOTH) / (predicted + true + SMOOTH)).mean()
