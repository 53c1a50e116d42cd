"""Two-scale inference: a network runs on the full picture for small targets and on the halved one for large targets."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.layers.padding import pad

MIN_PICTURE_SIDE = 32
"""Side, in px, of the smallest pictures that every network accepts."""


class TwoScales(nn.Module):
    """Per-pixel maximum of the logits of the picture and of the halved picture.

    Networks trained on small crops do not learn targets larger than a crop. At half the size a large target falls into
    the range of sizes that they know, for a quarter more arithmetic. The halved picture is the mean of 2x2 px of the
    network input, and its logits are upsampled bilinearly. If a side of it is below ``MIN_PICTURE_SIDE``, it is padded
    to that size by reflection.

    Args:
        network: network in eval mode.

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
        (top, bottom), (left, right) = _reflect_padding(rows), _reflect_padding(columns)
        coarse = self.network(F.pad(halved, (left, right, top, bottom), mode="reflect"))
        coarse = coarse[..., top : top + rows, left : left + columns]
        enlarged = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.maximum(logits, enlarged[..., :height, :width])


def _reflect_padding(side: int) -> tuple[int, int]:
    """Pixels to add before and after a side of at least half of ``MIN_PICTURE_SIDE`` to reach that length."""
    # Avoids comparisons: exports are traced at one size, and its result would be baked in for all sizes.
    missing = (MIN_PICTURE_SIDE - 1) // side * (MIN_PICTURE_SIDE - side)
    before = missing // side  # reflection can add at most side - 1 pixels
    return before, missing - before
