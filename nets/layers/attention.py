"""Channel and spatial attention as used in the MSHNet residual block."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nets.layers.blocked import BlockedConv2d
from nets.layers.gaussian import GaussianConv2d
from nets.layers.pinwheel import OrientedPinwheelConv2d, PinwheelConv2d

CHANNEL_REDUCTION = 16


class ChannelAttention(nn.Module):
    """Gate per channel from the mean- and max-pooled picture (CBAM, Woo et al. 2018, eq. 2).

    Both pooled vectors pass through one shared bias-free bottleneck, and the sigmoid of their sum is the gate.

    Args:
        channels: C of the input. The bottleneck has ``max(1, channels // 16)`` units.

    Shape:
        (N, C, H, W) -> gate (N, C, 1, 1) in (0, 1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // CHANNEL_REDUCTION)
        self.squeeze = nn.Conv2d(channels, hidden, kernel_size=1, bias=False)
        self.excite = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        mean = features.mean(dim=(2, 3), keepdim=True)
        peak = _spatial_max(features, self.training)
        gate = self.excite(torch.relu(self.squeeze(mean))) + self.excite(torch.relu(self.squeeze(peak)))
        return torch.sigmoid(gate)


class SpatialAttention(nn.Module):
    """Gate per pixel from the channel mean and channel maximum (CBAM, Woo et al. 2018, eq. 3).

    Shape:
        (N, C, H, W) -> gate (N, 1, H, W) in (0, 1).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = BlockedConv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        pooled = torch.cat([features.mean(dim=1, keepdim=True), _channel_max(features, self.training)], dim=1)
        return torch.sigmoid(self.conv(pooled))


# Training uses ``max``, whose gradient follows the index of the maximum. The gradient of ``amax`` compares all values
# with the maximum again, which is slow and finds no match if a compiler kept the two in different precisions.


def _channel_max(features: Tensor, training: bool) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W)."""
    return features.max(1, keepdim=True).values if training else features.amax(1, keepdim=True)


def _spatial_max(features: Tensor, training: bool) -> Tensor:
    """(N, C, H, W) -> (N, C, 1, 1)."""
    if not training:
        return features.amax((2, 3), keepdim=True)
    return features.flatten(2).max(2).values[..., None, None]


class ShapedSpatialAttention(nn.Module):
    """Gate per pixel from one kernel of fixed shape over the sum of channel mean and channel maximum.

    This single kernel replaces the two free kernels of ``SpatialAttention`` (98 weights) (Li and Zhuo, arXiv
    2604.09991).

    Args:
        conv: layer of one channel, (N, 1, H, W) -> (N, 1, H, W).

    Shape:
        (N, C, H, W) -> gate (N, 1, H, W) in (0, 1).
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(features.mean(dim=1, keepdim=True) + _channel_max(features, self.training)))


SPATIAL_ATTENTIONS: dict[str, Callable[[], nn.Module]] = {
    "conv7": SpatialAttention,
    "gaussian": lambda: ShapedSpatialAttention(GaussianConv2d(1)),
    "pinwheel": lambda: ShapedSpatialAttention(PinwheelConv2d(1)),
    "oriented_pinwheel": lambda: ShapedSpatialAttention(OrientedPinwheelConv2d(1)),
}
"""Learnt parameters per block: 98, 1 (sigma), 2 (sigma and angle), 1 (sigma; the angle is chosen at every pixel)."""
