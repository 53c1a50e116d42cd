"""U-Net with channel attention and a Gaussian-shaped spatial attention (after Li and Zhuo, arXiv 2604.09991)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nets.layers.attention import SPATIAL_ATTENTIONS, ChannelAttention
from nets.layers.double_conv import ConvBlock
from nets.unet import Concatenation, UShape, widths


class AttendedDoubleConv(nn.Module):
    """Two convolutions, then the gate per channel, the gate per pixel and only then the last ReLU.

    Channel attention squeezes through a ReLU of its own. Over features that are all positive one of its few units
    would be on or off for every picture alike, and one that starts off would never learn.

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

    Only the abstract and a digest of the paper were at hand. They state a U-Net with channel attention and, in the
    spatial attention, a Gaussian-shaped convolution with a learnt sigma, with or without a rotated pinwheel mask.
    They leave open, and we chose:

    - the widths: 16 to 256, those of MSHNet, which the paper's results are compared with;
    - the place of the attentions: after the two convolutions of every stage, channels first, as in MSHNet;
    - what the Gaussian sees: the sum of the channel mean and the channel maximum;
    - its taps, 7x7 as in CBAM, and its sigma at the start, 1.5 px.

    Args:
        in_channels: channels of the input.
        width: channels of the first level; they double at each of the four below.
        spatial_attention: a key of ``nets.layers.attention.SPATIAL_ATTENTIONS``.

    Raises:
        ValueError: width below 1, or an unknown attention.
    """

    def __init__(self, in_channels: int = 1, width: int = 16, spatial_attention: str = "gaussian") -> None:
        if spatial_attention not in SPATIAL_ATTENTIONS:
            known = ", ".join(SPATIAL_ATTENTIONS)
            raise ValueError(f"GaussianUNet: unknown spatial_attention {spatial_attention!r}; known: {known}")
        levels, attention = widths(width), SPATIAL_ATTENTIONS[spatial_attention]

        def block(inputs: int, outputs: int) -> nn.Module:
            return AttendedDoubleConv(inputs, outputs, attention)

        super().__init__(in_channels, levels, block, [Concatenation(channels) for channels in levels[:-1]])
