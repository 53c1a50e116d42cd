"""Scale-sensitive IoU: the IoU of a picture, weighted by how well the predicted area P matches the true area T.

A weight is 1 where P = T and smaller elsewhere. With S = |P - T| / (P + T), four of the five weights depend on S alone,
and so on the ratio P / T but not on the size of the target. ``variance`` is the weight of MSHNet (Liu et al., CVPR
2024), ``diff`` that of arXiv:2604.09991; ``mean``, ``ratio`` and ``linear`` are related forms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from training.losses.overlap import SMOOTH, areas

Weight = Literal["diff", "variance", "mean", "ratio", "linear"]

EPSILON = 1e-6


def mismatch(predicted: Tensor, true: Tensor) -> Tensor:
    """S = |P - T| / (P + T + eps), in [0, 1]: 0 for equal areas, 1 if one of them is empty."""
    return (predicted - true).abs() / (predicted + true + EPSILON)


def diff(predicted: Tensor, true: Tensor) -> Tensor:
    """(m + d / 2) / (M + d / 2) = 1 / (1 + 2 S), in (1/3, 1]; m, M smaller and larger area, d their difference."""
    return 1 / (1 + 2 * mismatch(predicted, true))


def variance(predicted: Tensor, true: Tensor) -> Tensor:
    """(m + V) / (M + V) with V = (d / 2)^2, the variance of the two areas.

    Not monotone: it falls to sqrt(T) / (1 + sqrt(T)) at P = T + 2 sqrt(T), then rises back towards 1.
    """
    smaller, larger = torch.minimum(predicted, true), torch.maximum(predicted, true)
    spread = ((predicted - true) / 2) ** 2
    return (smaller + spread + EPSILON) / (larger + spread + EPSILON)


def mean(predicted: Tensor, true: Tensor) -> Tensor:
    """(m + A) / (M + A) with A = (P + T) / 2; equal to (2 - S) / (2 + S), in (1/3, 1]."""
    s = mismatch(predicted, true)
    return (2 - s) / (2 + s)


def ratio(predicted: Tensor, true: Tensor) -> Tensor:
    """Smaller area divided by the larger, m / M = (1 - S) / (1 + S), in [0, 1]."""
    s = mismatch(predicted, true)
    return (1 - s) / (1 + s)


def linear(predicted: Tensor, true: Tensor) -> Tensor:
    """Like ``ratio``, with the difference added once more: m / (M + d) = (1 - S) / (1 + 3 S), in [0, 1]."""
    s = mismatch(predicted, true)
    return (1 - s) / (1 + 3 * s)


WEIGHTS: dict[Weight, Callable[[Tensor, Tensor], Tensor]] = {
    "diff": diff,
    "variance": variance,
    "mean": mean,
    "ratio": ratio,
    "linear": linear,
}


def scale_iou(logits: Tensor, mask: Tensor, weight: Weight | None, detach: bool = True) -> Tensor:
    """Loss 1 - w(P, T) (I + eps) / (U + eps) per picture, averaged.

    With the weight in the graph, ``diff``, ``ratio`` and ``linear`` reward false pixels: while P < T, more mass
    anywhere raises the weight by more than it lowers the IoU. With the weight detached, the value is the same and the
    gradient has the right sign at every pixel. A picture without a target has neither a scale nor an IoU. Its loss is P
    / (P + s), the soft IoU with s = 1 pixel, which is 0 for an empty prediction and pushes false pixels down.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1].
        weight: a key of ``WEIGHTS``; None for w = 1.
        detach: treat the weight as a constant; False is the published form.

    Returns:
        Scalar in [0, 1].
    """
    intersection, predicted, true = areas(logits, mask)
    empty = true == 0
    w = WEIGHTS[weight](predicted, true) if weight else torch.ones_like(true)
    if detach:
        w = w.detach()
    w = torch.where(empty, 1.0, w)
    smooth = torch.where(empty, SMOOTH, EPSILON)
    iou = (intersection + smooth) / (predicted + true - intersection + smooth)
    return (1 - w * iou).mean()
