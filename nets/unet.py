"""U-Net and the base class of its variants (Ronneberger et al., MICCAI 2015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.layers.double_conv import DoubleConv, UpConv
from nets.layers.padding import pad

LEVELS = 5
STRIDE = 2 ** (LEVELS - 1)


def widths(first: int) -> list[int]:
    """Return the channels of the five levels, doubling from one level to the next.

    Raises:
        ValueError: ``first`` is below 1.
    """
    if first < 1:
        raise ValueError(f"width must be at least 1, got {first}")
    return [first * 2**level for level in range(LEVELS)]


class Concatenation(nn.Module):
    """Join of a plain U-Net: the skip concatenated with the upsampled features of the coarser level.

    Shape:
        skip (N, C, H, W), deep (N, 2 C, H/2, W/2) -> (N, 2 C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = 2 * channels
        self.up = UpConv(2 * channels, channels)

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        return torch.cat([skip, self.up(deep)], dim=1)


class UShape(nn.Module):
    """Base U-Net: five levels down by max-pooling, four up by joins, one logits map.

    Frames of any height and width >= 32 are accepted: the picture is padded on the right and at the bottom by
    reflection to a multiple of 16 and the logits are cropped back, so no pixel is resampled.

    Args:
        in_channels: channels of the input.
        levels: channels of the five levels, finest first.
        block: makes the convolutions of one level from the numbers of input and output channels.
        joins: one join for each of the four upper levels, finest first. It is called with the encoder features of its
            level and the decoder features of the level below; ``out_channels`` is the number of channels that it
            returns.

    Shape:
        input (N, in_channels, H, W), float.
        eval: logits (N, 1, H, W).
        train: (logits, []), because there are no side outputs.

    Raises:
        ValueError: H or W is below 32.
    """

    def __init__(
        self,
        in_channels: int,
        levels: Sequence[int],
        block: Callable[[int, int], nn.Module],
        joins: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(block(a, b) for a, b in pairwise([in_channels, *levels]))
        self.joins = nn.ModuleList(joins)
        self.decoders = nn.ModuleList(
            block(join.out_channels, channels)  # type: ignore[arg-type]
            for join, channels in zip(joins, levels[:-1], strict=True)
        )
        self.head = nn.Conv2d(levels[0], 1, 1)

    def forward(self, picture: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        height, width = picture.shape[-2:]
        features = pad(picture, STRIDE, type(self).__name__)

        skips: list[Tensor] = []
        for encoder in self.encoders[:-1]:
            skips.append(encoder(features))
            features = F.max_pool2d(skips[-1], 2)
        features = self.encoders[-1](features)
        for level in reversed(range(LEVELS - 1)):
            features = self.decoders[level](self.joins[level](skips[level], features))

        logits = self.head(features)[..., :height, :width]
        return (logits, []) if self.training else logits


class UNet(UShape):
    """The plain U-Net: 8.634 M parameters and 16.5 G multiply-adds on 3x256x256 at the default width.

    Args:
        in_channels: channels of the input.
        width: channels of the first level; they double at each of the four levels below.

    Raises:
        ValueError: width is below 1.
    """

    def __init__(self, in_channels: int = 1, width: int = 32) -> None:
        levels = widths(width)
        super().__init__(in_channels, levels, DoubleConv, [Concatenation(channels) for channels in levels[:-1]])
