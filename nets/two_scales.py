"""A network that sees every picture twice, whole and halved: small targets in the one, large ones in the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.layers.padding import pad

SMALLEST = 32
"""Side, px, of the smallest pictures that every network takes."""


class TwoScales(nn.Module):
    """The greater of the logits of a picture and of the halved picture, at every pixel.

    What networks learn of size in small crops ends at the crop. At half the size a large target is one of those
    that they know, for a quarter more arithmetic. The halved picture is the mean of 2x2 px of the network's input, its
    logits are enlarged bilinearly. A side of it below ``SMALLEST`` is made as long by reflection.

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
        halved = F.avg_pool2d(pad(picture, 2, "TwoScales"), 2)
        rows, columns = halved.shape[-2:]
        (top, bottom), (left, right) = _lacking(rows), _lacking(columns)
        coarse = self.network(F.pad(halved, (left, right, top, bottom), mode="reflect"))
        coarse = coarse[..., top : top + rows, left : left + columns]
        enlarged = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.maximum(logits, enlarged[..., :height, :width])


def _lacking(side: int) -> tuple[int, int]:
    """Pixels that a side of at least half of ``SMALLEST`` lacks, before it and behind it."""
    # Nothing is compared: exports are traced at one size, and the outcome would hold for all others.
    lacking = (SMALLEST - 1) // side * (SMALLEST - side)
    before = lacking // side  # reflection reaches one pixel less than the side
    return before, lacking - before
