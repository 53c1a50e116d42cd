"""A network that sees every picture twice, whole and halved: small targets in the one, large ones in the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.layers.padding import pad

SMALLEST = 64
"""Side, px, from which a halved picture is large enough for every network."""


class TwoScales(nn.Module):
    """The greater of the logits of a picture and of the halved picture, at every pixel.

    What networks learn of size in small crops ends at the crop. At half the size a large target is one of those
    that they know, for a quarter more arithmetic. The halved picture is the mean of 2x2 px of the network's input, its
    logits are enlarged bilinearly. Pictures with a side below ``SMALLEST`` are seen whole alone.

    Args:
        network: in eval mode.

    Shape:
        (N, C, H, W) -> logits (N, 1, H, W).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        logits: Tensor = self.network(picture)
        if min(height, width) < SMALLEST:
            return logits
        coarse = self.network(F.avg_pool2d(pad(picture, 2, "TwoScales"), 2))
        enlarged = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.maximum(logits, enlarged[..., :height, :width])
