"""Convolutions with few channels, computed in blocks of pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 4


class BlockedConv2d(nn.Conv2d):
    """``nn.Conv2d`` that uses ``blocked_conv2d`` on a GPU; the kernel must be one that it supports."""

    def forward(self, input: Tensor) -> Tensor:
        return blocked_conv2d(input, self.weight, self.bias) if input.is_cuda else super().forward(input)


def blocked_conv2d(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``conv2d`` for odd, square kernels with zero padding to the same size, efficiently on a GPU.

    Matrix units need many channels, and cuDNN takes milliseconds for a 7x7 kernel over two of them. Each 4x4 block of
    pixels therefore becomes the channels of one position (space to depth). The kernel becomes a 3x3 kernel over
    positions, from all pixels of a block to all pixels of a block; most of its weights are zero.

    Args:
        features: (N, C, H, W).
        weight: (out, C, k, k), k odd and at most 9.
        bias: (out,), optional.

    Returns:
        (N, out, H, W), equal to ``conv2d(features, weight, bias, padding=k // 2)`` up to rounding.

    Raises:
        ValueError: the kernel is not supported.
    """
    return conv_in_blocks(features, block_kernel(weight), None if bias is None else bias.repeat_interleave(BLOCK**2))


def block_kernel(weight: Tensor) -> Tensor:
    """Return the kernel (16 out, 16 C, 3, 3) over blocks that is equivalent to ``weight`` (out, C, k, k) over pixels.

    Raises:
        ValueError: the kernel is not square, odd and at most 9 wide.
    """
    out_channels, in_channels, *sides = weight.shape
    reach = sides[0] // 2
    if sides[0] != sides[1] or sides[0] % 2 == 0 or reach > BLOCK:
        raise ValueError(f"blocked_conv2d needs a square kernel of odd size up to 9, got {sides[0]}x{sides[1]}")
    # Kernel index for each output pixel of a block and input pixel of a neighbour: (out, neighbour, in).
    pixel, step = torch.arange(BLOCK, device=weight.device), BLOCK * torch.arange(-1, 2, device=weight.device)
    place = pixel[None, None, :] + step[None, :, None] - pixel[:, None, None] + reach
    inside = (place >= 0) & (place < sides[0])
    place = place.clamp(0, sides[0] - 1)
    spread = weight[:, :, place[:, :, :, None, None, None], place] * (inside[:, :, :, None, None, None] & inside)
    # From (out, C, y, down, v, x, along, u) to the channel order of pixel_unshuffle.
    return spread.permute(0, 2, 5, 1, 4, 7, 3, 6).reshape(out_channels * BLOCK**2, in_channels * BLOCK**2, 3, 3)


def conv_in_blocks(features: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve (N, C, H, W) -> (N, out, H, W) with a kernel from ``block_kernel`` and an optional bias (16 out,)."""
    height, width = features.shape[-2:]
    blocks = F.pixel_unshuffle(F.pad(features, (0, -width % BLOCK, 0, -height % BLOCK)), BLOCK)
    return F.pixel_shuffle(F.conv2d(blocks, kernel, bias, padding=1), BLOCK)[..., :height, :width]
