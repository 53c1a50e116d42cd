"""U-Net for small computers: almost all of its arithmetic runs at half the picture's resolution or below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.layers.double_conv import ConvBlock
from nets.layers.padding import pad

STEM_STRIDE = 2
LEVELS = 4
STRIDE = STEM_STRIDE * 2 ** (LEVELS - 1)
WIDTHS = (16, 32, 64, 128)
BLOCKS = (1, 1, 2, 2)


class Residual(nn.Module):
    """Two 3x3 convolutions with batch normalisation, a shortcut and ReLU (He et al., CVPR 2016).

    Shape:
        (N, channels, H, W) -> the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(features + self.norm(self.conv(self.first(features))))


class FullResolution(nn.Module):
    """Final convolutions at full picture resolution, for pixel-accurate outlines.

    Args:
        in_channels: channels of the picture.
        channels: channels of the features.

    Shape:
        picture (N, in_channels, H, W), features (N, channels, H, W) -> logits (N, 1, H, W).
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.stem = ConvBlock(in_channels, channels)
        self.decoder = Residual(channels)
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, picture: Tensor, features: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder(self.stem(picture) + features))
        return logits


class EdgeUNet(nn.Module):
    """Residual U-Net with convolutions from half the resolution down, at an eighth of MSHNet's arithmetic.

    The first convolution, of 6x6 px, has stride 2. At the output each position gives the logits of its four pixels
    (sub-pixel convolution: Shi et al., CVPR 2016), or ``fine`` features per pixel for a few final convolutions. Skips
    are added rather than concatenated, after a 1x1 convolution of the features from the coarser level. Frames of any
    height and width >= 32 are accepted: the picture is padded on the right and at the bottom by reflection to a
    multiple of 16 and the logits are cropped back, so no pixel is resampled.

    Args:
        in_channels: channels of the input.
        widths: channels at strides 2, 4, 8, 16.
        blocks: residual blocks of the encoder at these strides; the decoder has one at each stride but the last.
        fine: channels at full picture resolution; 0 disables the full-resolution layers.

    Shape:
        input (N, in_channels, H, W), float.
        eval: logits (N, 1, H, W).
        train: (logits, [head logits at strides 4 and 8]). The heads have the padded size divided by their stride.

    Raises:
        ValueError: ``widths`` or ``blocks`` does not hold four numbers of at least 1, ``fine`` is below 0, or H or W is
            below 32.
    """

    def __init__(
        self, in_channels: int = 1, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] = BLOCKS, fine: int = 0
    ) -> None:
        super().__init__()
        for name, values in (("widths", widths), ("blocks", blocks)):
            if len(values) != LEVELS or min(values) < 1:
                raise ValueError(f"EdgeUNet: {name} must be {LEVELS} numbers of at least 1, got {list(values)}")
        if fine < 0:
            raise ValueError(f"EdgeUNet: fine must be at least 0, got {fine}")
        self.stem = ConvBlock(in_channels, widths[0], STEM_STRIDE)
        self.encoders = nn.ModuleList(
            nn.Sequential(*(Residual(width) for _ in range(count))) for width, count in zip(widths, blocks, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 1) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.decoders = nn.ModuleList(Residual(width) for width in widths[:-1])
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in widths[1:-1])
        self.head = nn.Conv2d(widths[0], STEM_STRIDE**2 * max(1, fine), 1)
        self.fine = FullResolution(in_channels, fine) if fine else None

    def forward(self, picture: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        height, width = picture.shape[-2:]
        padded = pad(picture, STRIDE, "EdgeUNet")
        features = self.stem(padded)

        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders[:-1], self.down, strict=True):
            skips.append(encoder(features))
            features = down(F.max_pool2d(skips[-1], 2))
        features = self.encoders[-1](features)

        heads: list[Tensor] = []
        for level in reversed(range(LEVELS - 1)):
            risen = F.interpolate(self.up[level](features), scale_factor=2, mode="bilinear", align_corners=False)
            features = self.decoders[level](skips[level] + risen)
            if level and self.training:
                heads.insert(0, self.heads[level - 1](features))

        unfolded = F.pixel_shuffle(self.head(features), STEM_STRIDE)
        logits = (unfolded if self.fine is None else self.fine(padded, unfolded))[..., :height, :width]
        return (logits, heads) if self.training else logits
