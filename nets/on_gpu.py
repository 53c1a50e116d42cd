"""Network form for GPU compilers: the same logits, with cuDNN convolutions only for layers of many channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nets.layers.attention import ChannelAttention
from nets.layers.blocked import BLOCK, block_kernel, conv_in_blocks

FEW_CHANNELS = 4
"""Number of channels up to which a convolution leaves the matrix units idle."""


def for_gpu(network: nn.Module) -> nn.Module:
    """Replace, in place, layers with too few channels for the matrix units; outputs agree up to rounding.

    1x1 convolutions from few channels or to one channel become sums, which the compiler fuses with neighbouring layers.
    Larger kernels from few channels to few run in blocks of pixels. Channel attention becomes matrix products.

    Args:
        network: network from ``nets.fold.fold``, on its device and in its precision.
    """
    if isinstance(network, ChannelAttention):
        return _MatmulChannelAttention(network)
    if isinstance(network, nn.Conv2d):
        return _gpu_replacement(network)
    for name, child in network.named_children():
        setattr(network, name, for_gpu(child))
    return network


def _gpu_replacement(conv: nn.Conv2d) -> nn.Module:
    height, width = conv.kernel_size
    same = conv.padding == (height // 2, width // 2) and conv.padding_mode == "zeros"
    if not same or conv.stride != (1, 1) or conv.dilation != (1, 1) or conv.groups != 1:
        return conv
    if height == width == 1:
        if conv.out_channels == 1:
            return _SingleOutputConv1x1(conv)
        return _FewInputConv1x1(conv) if conv.in_channels <= FEW_CHANNELS else conv
    small = height == width and height % 2 == 1 and height // 2 <= BLOCK
    return _BlockedConv(conv) if small and max(conv.in_channels, conv.out_channels) <= FEW_CHANNELS else conv


class _SingleOutputConv1x1(nn.Module):
    """1x1 convolution to one channel. (N, C, H, W) -> (N, 1, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, features: Tensor) -> Tensor:
        total = (features * self.weight).sum(1, keepdim=True)
        return total if self.bias is None else total + self.bias


class _FewInputConv1x1(nn.Module):
    """1x1 convolution from few channels. (N, C, H, W) -> (N, out, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, features: Tensor) -> Tensor:
        mixed = features[:, :1] * self.weight[:, 0].reshape(1, -1, 1, 1)
        for channel in range(1, self.weight.shape[1]):
            mixed = mixed + features[:, channel : channel + 1] * self.weight[:, channel].reshape(1, -1, 1, 1)
        return mixed if self.bias is None else mixed + self.bias.view(1, -1, 1, 1)


class _BlockedConv(nn.Module):
    """Convolution of few channels in blocks of pixels, with a precomputed kernel. (N, C, H, W) -> (N, out, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        with torch.no_grad():
            kernel = block_kernel(conv.weight).contiguous(memory_format=torch.channels_last)
            self.kernel = nn.Parameter(kernel, requires_grad=False)
            bias = None if conv.bias is None else conv.bias.repeat_interleave(BLOCK**2)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        return conv_in_blocks(features, self.kernel, self.bias)


class _MatmulChannelAttention(nn.Module):
    """``ChannelAttention`` as two matrix products. (N, C, H, W) -> gate (N, C, 1, 1)."""

    def __init__(self, attention: ChannelAttention) -> None:
        super().__init__()
        self.squeeze, self.excite = attention.squeeze.weight, attention.excite.weight

    def forward(self, features: Tensor) -> Tensor:
        pooled = torch.stack([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))])
        # The second layer has no bias, so applying it once to the sum gives the same result.
        hidden = torch.relu(pooled @ self.squeeze.flatten(1).T).sum(0)
        return torch.sigmoid(hidden @ self.excite.flatten(1).T)[:, :, None, None]
