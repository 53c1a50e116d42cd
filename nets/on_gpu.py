"""The form of a network that a compiler for GPUs makes the most of: the same logits, cuDNN for wide layers alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nets.layers.attention import ChannelAttention
from nets.layers.blocked import BLOCK, block_kernel, conv_in_blocks

FEW = 4
"""Channels up to which a convolution leaves matrix units idle."""


def for_gpu(network: nn.Module) -> nn.Module:
    """Exchange, in place, what matrix units are too wide for; outputs agree to rounding.

    1x1 convolutions from few channels or to one become sums, which the compiler joins with the layers around them;
    larger kernels from few channels to few run in blocks of pixels; the gates of channels become matrix products.

    Args:
        network: from ``nets.fold.fold``, on its device and in its precision.
    """
    if isinstance(network, ChannelAttention):
        return _Gate(network)
    if isinstance(network, nn.Conv2d):
        return _exchanged(network)
    for name, child in network.named_children():
        setattr(network, name, for_gpu(child))
    return network


def _exchanged(conv: nn.Conv2d) -> nn.Module:
    height, width = conv.kernel_size
    same = conv.padding == (height // 2, width // 2) and conv.padding_mode == "zeros"
    if not same or conv.stride != (1, 1) or conv.dilation != (1, 1) or conv.groups != 1:
        return conv
    if height == width == 1:
        if conv.out_channels == 1:
            return _Sum(conv)
        return _Mix(conv) if conv.in_channels <= FEW else conv
    small = height == width and height % 2 == 1 and height // 2 <= BLOCK
    return _Blocks(conv) if small and max(conv.in_channels, conv.out_channels) <= FEW else conv


class _Sum(nn.Module):
    """A 1x1 convolution to one channel. (N, C, H, W) -> (N, 1, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, features: Tensor) -> Tensor:
        total = (features * self.weight).sum(1, keepdim=True)
        return total if self.bias is None else total + self.bias


class _Mix(nn.Module):
    """A 1x1 convolution from few channels. (N, C, H, W) -> (N, out, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, features: Tensor) -> Tensor:
        mixed = features[:, :1] * self.weight[:, 0].reshape(1, -1, 1, 1)
        for channel in range(1, self.weight.shape[1]):
            mixed = mixed + features[:, channel : channel + 1] * self.weight[:, channel].reshape(1, -1, 1, 1)
        return mixed if self.bias is None else mixed + self.bias.view(1, -1, 1, 1)


class _Blocks(nn.Module):
    """A convolution of few channels in blocks of pixels, its kernel made once. (N, C, H, W) -> (N, out, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        with torch.no_grad():
            kernel = block_kernel(conv.weight).contiguous(memory_format=torch.channels_last)
            self.kernel = nn.Parameter(kernel, requires_grad=False)
            bias = None if conv.bias is None else conv.bias.repeat_interleave(BLOCK**2)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        return conv_in_blocks(features, self.kernel, self.bias)


class _Gate(nn.Module):
    """``ChannelAttention`` by two matrix products. (N, C, H, W) -> gate (N, C, 1, 1)."""

    def __init__(self, attention: ChannelAttention) -> None:
        super().__init__()
        self.squeeze, self.excite = attention.squeeze.weight, attention.excite.weight

    def forward(self, features: Tensor) -> Tensor:
        pooled = torch.stack([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))])
        # Without a bias the second layer may as well see the sum of both.
        hidden = torch.relu(pooled @ self.squeeze.flatten(1).T).sum(0)
        return torch.sigmoid(hidden @ self.excite.flatten(1).T)[:, :, None, None]
