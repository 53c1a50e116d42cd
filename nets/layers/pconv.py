"""Pinwheel-shaped convolution (Yang et al., AAAI 2025, arXiv 2412.16986)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PConv(nn.Module):
    """Four one-sided arms around each pixel, joined by a 2x2 convolution; replaces a 3x3 convolution, BN and SiLU.

    Two horizontal 1xk and two vertical kx1 convolutions are each zero-padded on the side that their arm points to and
    by one pixel across. Together they cover 8k + 1 pixels (25 for k = 3) with the largest weight at the centre. The
    activation between the arms and the 2x2 convolution prevents folding the block into a single kernel; only its batch
    norms fold.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4; each arm gives a quarter.
        size: k, the length of an arm in pixels.
        shared: one set of weights per direction, as in the released code, instead of one per arm, as in the paper.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: out_channels is not a multiple of 4.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int = 3, shared: bool = False) -> None:
        super().__init__()
        if out_channels % 4:
            raise ValueError(f"PConv needs a multiple of 4 output channels, got {out_channels}")
        k, copies = size, 1 if shared else 2
        # (left, right, top, bottom): right and left arms, then upper and lower
        self.pads = ((k, 0, 1, 0), (0, k, 0, 1), (0, 1, k, 0), (1, 0, 0, k))
        self.horizontal = nn.ModuleList(_unit(in_channels, out_channels // 4, (1, k)) for _ in range(copies))
        self.vertical = nn.ModuleList(_unit(in_channels, out_channels // 4, (k, 1)) for _ in range(copies))
        self.join = _unit(out_channels, out_channels, (2, 2))

    def forward(self, features: Tensor) -> Tensor:
        units = (self.horizontal[0], self.horizontal[-1], self.vertical[0], self.vertical[-1])
        arms = [unit(F.pad(features, pad)) for unit, pad in zip(units, self.pads, strict=True)]
        joined: Tensor = self.join(torch.cat(arms, dim=1))
        return joined


def _unit(in_channels: int, out_channels: int, size: tuple[int, int]) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, size, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.SiLU())
