"""Knowledge distillation: training on the maps of a larger network (Hinton, Vinyals and Dean 2015)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTH = 1.0


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """Distance of a map from a teacher's: half cross-entropy, half 1 - (2 sum pq + s) / (sum pp + sum qq + s).

    Both terms are smallest where the probabilities p and q agree at every pixel. The second, a Dice loss for soft masks
    (Milletari et al., 3DV 2016) with s = 1 pixel, normalises by target area instead of picture area, whereas the
    background dominates the first term. The teacher's estimates for uncertain pixels and its false alarms are learnt as
    well.

    Args:
        logits: (N, 1, H, W), of any floating type; the loss is computed in float32.
        teacher: logits of the same shape, constant.

    Returns:
        Scalar, float32, 0 where both agree (the teacher's own entropy is subtracted from the first term), above 0
        elsewhere.
    """
    logits, soft = logits.float(), torch.sigmoid(teacher.float())
    own = F.binary_cross_entropy_with_logits(teacher.float(), soft)
    entropy = F.binary_cross_entropy_with_logits(logits, soft) - own
    p, q = torch.sigmoid(logits), soft
    dice = 1 - (2 * (p * q).sum() + SMOOTH) / (p.square().sum() + q.square().sum() + SMOOTH)
    return 0.5 * entropy + 0.5 * dice
