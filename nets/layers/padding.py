"""Padding of pictures for networks that need sides divisible by their stride."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pad(picture: Tensor, stride: int, network: str) -> Tensor:
    """Pad on the right and at the bottom by reflection to a multiple of ``stride``.

    Args:
        picture: (..., H, W).
        stride: stride of the network's coarsest features in pixels.
        network: name of the network for the error message.

    Raises:
        ValueError: H or W is below twice the stride, so the coarsest features would have almost no neighbourhood.
    """
    height, width = picture.shape[-2:]
    if min(height, width) < 2 * stride:
        raise ValueError(f"{network} needs pictures of at least {2 * stride}x{2 * stride} pixels, got {width}x{height}")
    return F.pad(picture, (0, -width % stride, 0, -height % stride), mode="reflect")
