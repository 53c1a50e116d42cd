"""Gaussian kernel under a rotated pinwheel mask (after Li and Zhuo, arXiv 2604.09991).

The mask has four arms swept to one side. A pinwheel of equal arms repeats every 90 degrees: at multiples of pi/8 it has
only four different orientations, and none of them indicates the axis of an elongated target. Here one pair of arms is
twice as long as the other, so the period is pi, as for an axis.

A binary mask has no useful gradient, so both layers use a straight-through estimator. The forward pass uses the hard
mask or the hard choice of orientation, the backward pass the gradient of a sigmoid or softmax. ``PinwheelConv2d``
learns one angle per channel and is a plain convolution once trained. ``OrientedPinwheelConv2d`` chooses the angle at
every pixel, because one picture contains targets of several orientations.

Angles are in radians from +x (right) towards +y (down).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nets.layers.shaped import ShapedConv2d, gaussian_window, normalise, offsets

ANGLES = 8
HALF_WIDTH = 0.8
SWEEP = 0.3
SHORT_ARM = 0.5
SOFTNESS = 0.25
TEMPERATURE = 1.0


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return the value of ``hard`` with the gradient of ``soft`` added to its own."""
    return hard + (soft - soft.detach())


def pinwheel_margin(theta: Tensor, size: int) -> Tensor:
    """Signed distance to the edge of the pinwheel, positive inside.

    With phi the direction of a tap and r its distance, an arm is the set of taps within 0.8 pixels of its centre line
    phi = theta + 0.3 (r - size / 4) (mod pi/2), out to size / 2 along theta and half of that across it.

    Args:
        theta: (...), direction of the long arms.
        size: taps per side, odd.

    Returns:
        (..., size, size), pixels.
    """
    x, y = offsets(size, theta)
    radius = torch.sqrt(x.square() + y.square())
    swept = torch.atan2(y, x) - theta[..., None, None] - SWEEP * (radius - size / 4)
    quarter = math.pi / 2
    across = radius * (swept - quarter * torch.round(swept / quarter)).abs()
    reach = size / 4 * (1 + SHORT_ARM + (1 - SHORT_ARM) * torch.cos(2 * swept))
    return torch.minimum(HALF_WIDTH - across, reach - radius)


def pinwheel_mask(theta: Tensor, size: int) -> Tensor:
    """Binary pinwheel masks (..., size, size) at angles (...), with the gradient of soft edges.

    The centre tap is always 1. The gradient is that of sigmoid(margin / 0.25 pixels).
    """
    margin = pinwheel_margin(theta, size)
    return straight_through((margin >= 0).to(margin.dtype), torch.sigmoid(margin / SOFTNESS))


def pinwheel_kernel(sigma: Tensor, theta: Tensor, size: int, contrast: bool = False) -> Tensor:
    """Return Gaussian kernels multiplied by pinwheel masks.

    Args:
        sigma: (...), pixels, > 0. Towards 0 the kernel becomes the identity, towards infinity the normalised mask.
        theta: (...), broadcast against ``sigma``.
        size: taps per side, odd.
        contrast: subtract the box mean.

    Returns:
        (..., size, size), summing to 1, or to 0 with ``contrast``.
    """
    return normalise(gaussian_window(sigma, size) * pinwheel_mask(theta, size), contrast)


def axis_kernels(sigma: Tensor, size: int) -> Tensor:
    """Two zero-sum kernels of unit norm whose responses are the cosine and sine of twice the axis of a bright bar.

    They are a Gaussian times r^2 cos(2 phi) and r^2 sin(2 phi) on the disk of radius size / 2. The pair is steerable:
    its combinations give every rotation of itself (Freeman and Adelson 1991), so all angles are treated alike. Binary
    masks of a few pixels are unsuitable because their number of ones varies too much with the angle.

    Returns:
        (..., 2, size, size) for sigma (...).
    """
    x, y = offsets(size, sigma)
    window = gaussian_window(sigma, size) * (x.square() + y.square() <= size**2 / 4)
    pair = torch.stack([window * (x.square() - y.square()), window * (2 * x * y)], dim=-3)
    return pair / pair.square().sum(dim=(-2, -1), keepdim=True).sqrt()


class PinwheelConv2d(ShapedConv2d):
    """Depthwise convolution by a pinwheel of learnt width and angle: two parameters per channel.

    The initial angles divide [0, pi) evenly between the channels. Arguments as ``ShapedConv2d``.

    Shape:
        (N, C, H, W) -> (N, C, H, W).
    """

    def __init__(self, channels: int, size: int = 7, sigma: float = 1.5, contrast: bool = False) -> None:
        super().__init__(channels, size, sigma, contrast)
        self.theta = nn.Parameter(torch.arange(channels) * (math.pi / channels))

    @property
    def weight(self) -> Tensor:
        """The kernels, (C, 1, size, size)."""
        return pinwheel_kernel(self.sigma, self.theta, self.size, self.contrast).unsqueeze(1)


class PinwheelBank(ShapedConv2d):
    """Depthwise bank: every channel convolved with the pinwheels at angles pi a / 8 and the two axis kernels.

    Shape:
        (N, C, H, W) -> (N, C * 10, H, W).
    """

    @property
    def weight(self) -> Tensor:
        """The kernels, (C * 10, 1, size, size)."""
        sigma = self.sigma[:, None]
        pinwheels = pinwheel_kernel(sigma, _angles(sigma), self.size, self.contrast)
        return torch.cat([pinwheels, axis_kernels(self.sigma, self.size)], dim=1).flatten(0, 1).unsqueeze(1)


class OrientedPinwheelConv2d(nn.Module):
    """Depthwise convolution by a pinwheel rotated, at every pixel, to the axis of the local bright structure.

    It has one parameter (sigma) per channel. The axis maximises the response of the axis kernels over eight angles; the
    choice is one-hot forward and softmax(energy) backward. The bank of kernels folds into one plain convolution, but
    the choice is not linear and remains. Arguments as ``ShapedConv2d``.

    Shape:
        (N, C, H, W) -> (N, C, H, W).
    """

    def __init__(self, channels: int, size: int = 7, sigma: float = 1.5, contrast: bool = False) -> None:
        super().__init__()
        self.bank = PinwheelBank(channels, size, sigma, contrast)

    def forward(self, features: Tensor) -> Tensor:
        responses, energy = self._compare(features)
        picked = responses.gather(2, energy.argmax(dim=2, keepdim=True)).squeeze(2)
        if not energy.requires_grad:
            return picked
        weights = torch.softmax(energy / TEMPERATURE, dim=2)
        return straight_through(picked, (weights * responses.detach()).sum(dim=2))

    def axis(self, features: Tensor) -> Tensor:
        """The chosen angle at every pixel: (N, C, H, W) -> (N, C, H, W), radians in [0, pi)."""
        return _angles(features)[self._compare(features)[1].argmax(dim=2)]

    def _compare(self, features: Tensor) -> tuple[Tensor, Tensor]:
        responses = self.bank(features).unflatten(1, (features.shape[1], ANGLES + 2))
        responses, axis = responses.split([ANGLES, 2], dim=2)
        double = 2 * _angles(features)[:, None, None]
        return responses, axis[:, :, :1] * torch.cos(double) + axis[:, :, 1:] * torch.sin(double)


def _angles(like: Tensor) -> Tensor:
    return torch.arange(ANGLES, device=like.device, dtype=like.dtype) * (math.pi / ANGLES)
