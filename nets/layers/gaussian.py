"""Gaussian-shaped convolution with a learnt width per channel (Li and Zhuo, arXiv 2604.09991)."""

from __future__ import annotations

from torch import Tensor

from nets.layers.shaped import ShapedConv2d, gaussian_window, normalise


def gaussian_kernel(sigma: Tensor, size: int, contrast: bool = False) -> Tensor:
    """Return sampled Gaussian kernels.

    Args:
        sigma: (...), pixels, > 0. Towards 0 the kernel becomes the identity, towards infinity the box.
        size: taps per side, odd.
        contrast: subtract the box mean, so that a uniform neighbourhood gives 0 instead of its level.

    Returns:
        (..., size, size), summing to 1, or to 0 with ``contrast``.
    """
    return normalise(gaussian_window(sigma, size), contrast)


class GaussianConv2d(ShapedConv2d):
    """Depthwise convolution by a Gaussian of learnt width: one parameter per channel. Arguments as ``ShapedConv2d``.

    Shape:
        (N, C, H, W) -> (N, C, H, W).
    """

    @property
    def weight(self) -> Tensor:
        """The kernels, (C, 1, size, size)."""
        return gaussian_kernel(self.sigma, self.size, self.contrast).unsqueeze(1)
