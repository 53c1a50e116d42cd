"""Learning from the maps of a larger network (Hinton, Vinyals and Dean 2015) instead of a mask."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTH = 1.0


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """How far a map is from that of a teacher: half cross-entropy, half 1 - (2 sum pq + s) / (sum pp + sum qq + s).

    Both are least where the probabilities p and q agree at every pixel. The second, a Dice loss for soft masks
    (Milletari et al., 3DV 2016) with s = 1 pixel, weighs targets against each other and not against the background,
    in which the first all but drowns them. What the teacher knows of doubtful pixels, and of false alarms, comes along.

    Args:
        logits: (N, 1, H, W), of any floating type; the loss is computed in float32.
        teacher: logits of the same shape, constant.

    Returns:
        scalar, float32, 0 where they agree (the teacher's own entropy is taken off the first half), above elsewhere.
    """
    logits, soft = logits.float(), torch.sigmoid(teacher.float())
    own = F.binary_cross_entropy_with_logits(teacher.float(), soft)
    entropy = F.binary_cross_entropy_with_logits(logits, soft) - own
    p, q = torch.sigmoid(logits), soft
    dice = 1 - (2 * (p * q).sum() + SMOOTH) / (p.square().sum() + q.square().sum() + SMOOTH)
    return 0.5 * entropy + 0.5 * dice
