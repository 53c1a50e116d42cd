"""Basic convolution blocks of the U-Nets: double convolution, and upsampling followed by a convolution."""

from __future__ import annotations

from torch import nn


class ConvBlock(nn.Sequential):
    """Convolution of three strides by three, batch normalisation and ReLU.

    The convolution has no bias because the normalisation would subtract it again.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), H and W divisible by ``stride``.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3 * stride, stride=stride, padding=stride, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each with batch normalisation and ReLU (Ronneberger et al., 2015, padded).

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(ConvBlock(in_channels, out_channels), ConvBlock(out_channels, out_channels))


class UpConv(nn.Sequential):
    """Bilinear upsampling by two with aligned corners, then a 3x3 convolution, batch normalisation and ReLU.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, 2 H, 2 W).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), ConvBlock(in_channels, out_channels)
        )
