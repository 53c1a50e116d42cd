"""U-Net with channel attention and a Gaussian-shaped spatial attention (after Li and Zhuo, arXiv 2604.09991)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nets.layers.attention import SPATIAL_ATTENTIONS, ChannelAttention
from nets.layers.double_conv import ConvBlock
from nets.unet import Concatenation, UShape, widths


class AttendedDoubleConv(nn.Module):
    """Two convolutions, then channel attention, spatial attention and the last ReLU.

    The last ReLU follows the attention because channel attention has a ReLU in its own bottleneck. If all features were
    positive, each of the few bottleneck units would be on or off for every picture alike, and a unit that starts off
    would never learn.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, spatial_attention: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first = ConvBlock(in_channels, out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.channel_attention = ChannelAttention(out_channels)
        self.spatial_attention = spatial_attention()

    def forward(self, features: Tensor) -> Tensor:
        out = self.norm(self.second(self.first(features)))
        out = self.channel_attention(out) * out
        out = self.spatial_attention(out) * out
        return torch.relu(out)


class GaussianUNet(UShape):
    """U-Net with both attentions in every stage: 2.17 M parameters and 4.1 G multiply-adds on 3x256x256.

    Only the abstract and a digest of the paper were available. They describe a U-Net with channel attention and, in the
    spatial attention, a Gaussian-shaped convolution with a learnt sigma, with or without a rotated pinwheel mask. The
    following is not specified there and was chosen here:

    - the widths: 16 to 256, as in MSHNet, which the paper compares its results with;
    - the position of the attentions: after the two convolutions of every stage, channels first, as in MSHNet;
    - the input of the Gaussian: the sum of the channel mean and the channel maximum;
    - its kernel size, 7x7 as in CBAM, and its initial sigma, 1.5 px.

    Args:
        in_channels: channels of the input.
        width: channels of the first level; they double at each of the four levels below.
        spatial_attention: a key of ``nets.layers.attention.SPATIAL_ATTENTIONS``.

    Raises:
        ValueError: width is below 1, or the attention is unknown.
    """

    def __init__(self, in_channels: int = 1, width: int = 16, spatial_attention: str = "gaussian") -> None:
        if spatial_attention not in SPATIAL_ATTENTIONS:
            known = ", ".join(SPATIAL_ATTENTIONS)
            raise ValueError(f"GaussianUNet: unknown spatial_attention {spatial_attention!r}; known: {known}")
        levels, attention = widths(width), SPATIAL_ATTENTIONS[spatial_attention]

        def block(inputs: int, outputs: int) -> nn.Module:
            return AttendedDoubleConv(inputs, outputs, attention)

        super().__init__(in_channels, levels, block, [Concatenation(channels) for channels in levels[:-1]])
