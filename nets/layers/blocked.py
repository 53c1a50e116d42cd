"""Convolutions of few channels, computed in blocks of pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 4


class WideConv2d(nn.Conv2d):
    """``nn.Conv2d`` for kernels as ``blocked_conv2d`` takes them, in blocks where it runs on a GPU."""

    def forward(self, input: Tensor) -> Tensor:
        return blocked_conv2d(input, self.weight, self.bias) if input.is_cuda else super().forward(input)


def blocked_conv2d(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``conv2d`` of odd, square kernels with zero padding to the same size, for a GPU.

    Matrix units want many channels, and cuDNN takes milliseconds for a 7x7 kernel over two of them. So each 4x4 pixels
    become channels of one position (space to depth), and the kernel becomes one of 3x3 positions from all pixels of a
    block to all of them, most of its weights zero.

    Args:
        features: (N, C, H, W).
        weight: (out, C, k, k), k odd and at most 9.
        bias: (out,), if any.

    Returns:
        (N, out, H, W), equal to ``conv2d(features, weight, bias, padding=k // 2)`` to rounding.

    Raises:
        ValueError: another kernel.
    """
    return conv_in_blocks(features, block_kernel(weight), None if bias is None else bias.repeat_interleave(BLOCK**2))


def block_kernel(weight: Tensor) -> Tensor:
    """The kernel (16 out, 16 C, 3, 3) between blocks that does what ``weight`` (out, C, k, k) does between pixels.

    Raises:
        ValueError: it is not square, odd and at most 9 wide.
    """
    out_channels, in_channels, *sides = weight.shape
    reach = sides[0] // 2
    if sides[0] != sides[1] or sides[0] % 2 == 0 or reach > BLOCK:
        raise ValueError(f"blocked_conv2d: a kernel of {sides[0]}x{sides[1]}")
    # Where in the kernel an output pixel of a block finds an input pixel of its neighbour: (out, neighbour, in).
    pixel, step = torch.arange(BLOCK, device=weight.device), BLOCK * torch.arange(-1, 2, device=weight.device)
    place = pixel[None, None, :] + step[None, :, None] - pixel[:, None, None] + reach
    inside = (place >= 0) & (place < sides[0])
    place = place.clamp(0, sides[0] - 1)
    spread = weight[:, :, place[:, :, :, None, None, None], place] * (inside[:, :, :, None, None, None] & inside)
    # From (out, C, y, down, v, x, along, u) to channels as pixel_unshuffle orders them.
    return spread.permute(0, 2, 5, 1, 4, 7, 3, 6).reshape(out_channels * BLOCK**2, in_channels * BLOCK**2, 3, 3)


def conv_in_blocks(features: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, C, H, W) -> (N, out, H, W) by a kernel of ``block_kernel`` and a bias (16 out,), if any."""
    height, width = features.shape[-2:]
    blocks = F.pixel_unshuffle(F.pad(features, (0, -width % BLOCK, 0, -height % BLOCK)), BLOCK)
    return F.pixel_shuffle(F.conv2d(blocks, kernel, bias, padding=1), BLOCK)[..., :height, :width]
