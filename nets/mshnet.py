"""MSHNet: a U-shaped network with one prediction head per decoder scale (Liu et al., CVPR 2024)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.layers.attention import SPATIAL_ATTENTIONS, ChannelAttention
from nets.layers.padding import pad
from nets.layers.pconv import PConv

STRIDE = 16
WIDTHS = (16, 32, 64, 128, 256)
BLOCKS = (1, 2, 2, 2, 2)
Choice = TypeVar("Choice")

STEMS: dict[str, Callable[[int], nn.Module]] = {
    "conv1": lambda in_channels: nn.Conv2d(in_channels, WIDTHS[0], 1),
    "pconv": lambda in_channels: nn.Sequential(PConv(in_channels, WIDTHS[0], 4), PConv(WIDTHS[0], WIDTHS[0], 3)),
}


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, channel then spatial attention, shortcut and ReLU.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, spatial_attention: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.channel_attention = ChannelAttention(out_channels)
        self.spatial_attention = spatial_attention()
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))

    def forward(self, features: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(features)))
        out = self.bn2(self.conv2(out))
        out = self.channel_attention(out) * out
        out = self.spatial_attention(out) * out
        return torch.relu(out + self.shortcut(features))


class MSHNet(nn.Module):
    """The published multi-scale-head network: 4,065,513 parameters with three input channels.

    Frames of any height and width >= 32 are accepted: the picture is padded on the right and at the bottom by
    reflection to a multiple of 16 and the logits are cropped back, so no pixel is resampled.

    Args:
        in_channels: channels of the input.
        spatial_attention: a key of ``SPATIAL_ATTENTIONS``; anything but ``conv7`` departs from the publication.
        stem: a key of ``STEMS``; anything but ``conv1`` departs from the publication.

    Shape:
        input (N, in_channels, H, W), float.
        eval: logits (N, 1, H, W).
        train: (logits, [head logits at strides 1, 2, 4, 8]). The heads have the padded size divided by their stride.

    Raises:
        ValueError: an option is unknown, or H or W is below 32.
    """

    def __init__(self, in_channels: int = 1, spatial_attention: str = "conv7", stem: str = "conv1") -> None:
        super().__init__()
        w, b = WIDTHS, BLOCKS
        attention = _known("spatial_attention", spatial_attention, SPATIAL_ATTENTIONS)

        def stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
            widths = [in_channels] + [out_channels] * blocks
            return nn.Sequential(*(ResidualBlock(*pair, attention) for pair in pairwise(widths)))

        self.stem = _known("stem", stem, STEMS)(in_channels)
        self.encoders = nn.ModuleList(stage(w[max(i - 1, 0)], w[i], b[i]) for i in range(4))
        self.middle = stage(w[3], w[4], b[4])
        self.decoders = nn.ModuleList(stage(w[i] + w[i + 1], w[i], b[i]) for i in range(4))
        self.heads = nn.ModuleList(nn.Conv2d(w[i], 1, 1) for i in range(4))
        self.fuse = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        height, width = picture.shape[-2:]
        features = self.stem(pad(picture, STRIDE, "MSHNet"))

        skips: list[Tensor] = []
        for encoder in self.encoders:
            skips.append(encoder(features))
            features = F.max_pool2d(skips[-1], 2)
        features = self.middle(features)

        heads: list[Tensor] = []
        for level in (3, 2, 1, 0):
            features = self.decoders[level](torch.cat([skips[level], _upsample(features, 2)], dim=1))
            heads.insert(0, self.heads[level](features))

        logits = self.fuse(torch.cat([heads[0], *(_upsample(heads[i], 2**i) for i in (1, 2, 3))], dim=1))
        logits = logits[..., :height, :width]
        return (logits, heads) if self.training else logits


def _upsample(features: Tensor, factor: int) -> Tensor:
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=True)


def _known(option: str, name: str, choices: dict[str, Choice]) -> Choice:
    if name not in choices:
        raise ValueError(f"MSHNet: unknown {option} {name!r}; known: {', '.join(choices)}")
    return choices[name]
