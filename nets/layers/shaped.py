"""Depthwise convolution whose kernels are computed from a few learnt shape parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIGMA_MIN = 0.3
"""Smallest width in pixels. Below it a sampled Gaussian equals the identity within 2 % and its gradient vanishes."""


def offsets(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return tap positions relative to the centre in pixels: x (size,) to the right and y (size, 1) down.

    Both have the dtype and device of ``like``.

    Raises:
        ValueError: the size is even, so there is no centre tap, or below 3.
    """
    if size < 3 or size % 2 == 0:
        raise ValueError(f"kernel size must be odd and at least 3, got {size}")
    taps = torch.arange(size, device=like.device, dtype=like.dtype) - size // 2
    return taps, taps[:, None]


def gaussian_window(sigma: Tensor, size: int) -> Tensor:
    """exp(-r^2 / (2 sigma^2)), 1 at the centre tap: sigma (...) in pixels, > 0 -> (..., size, size)."""
    x, y = offsets(size, sigma)
    return torch.exp((x.square() + y.square()) / (-2 * sigma.square())[..., None, None])


def normalise(weights: Tensor, contrast: bool = False) -> Tensor:
    """Scale (..., size, size) weights to sum 1; with ``contrast`` also subtract the box mean, for a sum of 0."""
    kernel = weights / weights.sum(dim=(-2, -1), keepdim=True)
    return kernel - 1 / (kernel.shape[-2] * kernel.shape[-1]) if contrast else kernel


class ShapedConv2d(nn.Module):
    """Base class of the shaped convolutions: learnt Gaussian width per channel, zero padding, computed ``weight``.

    The width is softplus(raw) + 0.3 pixels. For every shape the layer equals an ``nn.Conv2d`` with groups=C,
    padding=size // 2 and this ``weight``; ``nets.fold`` converts it to that.

    Args:
        channels: C.
        size: taps per side, odd, >= 3.
        sigma: initial width, pixels, > 0.3.
        contrast: zero-sum kernels (centre minus surround) instead of kernels that sum to 1 (low-pass).

    Raises:
        ValueError: the size is even or below 3, or sigma is not above 0.3.
    """

    def __init__(self, channels: int, size: int = 7, sigma: float = 1.5, contrast: bool = False) -> None:
        super().__init__()
        if sigma <= SIGMA_MIN:
            raise ValueError(f"sigma must start above {SIGMA_MIN} pixels, got {sigma}")
        self.raw_sigma = nn.Parameter(torch.full((channels,), math.log(math.expm1(sigma - SIGMA_MIN))))
        offsets(size, self.raw_sigma)
        self.size = size
        self.contrast = contrast

    @property
    def sigma(self) -> Tensor:
        """Widths in pixels, (C,), > 0.3."""
        return F.softplus(self.raw_sigma) + SIGMA_MIN

    @property
    def weight(self) -> Tensor:
        """The kernels, (a multiple of C, 1, size, size)."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        return F.conv2d(features, self.weight, padding=self.size // 2, groups=self.raw_sigma.numel())
