"""Squares resampled, mirrored and transposed, each its own way, by two matrix products for all of them."""

from __future__ import annotations

import torch
from torch import Tensor


def lines(old: Tensor, new: Tensor, most: int, side: int, mirrored: Tensor) -> Tensor:
    """Weights of the old pixels of a line in its new ones: bilinear, and over all that a larger pixel covers.

    The filter of ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)``; with ``old == new`` every
    pixel is itself.

    Args:
        old: (N,), int64, pixels of each line before.
        new: (N,), likewise after.
        most: largest of ``old``, or more.
        side: largest of ``new``, or more.
        mirrored: (N,), bool, whether the new pixels run backwards.

    Returns:
        (N, side, most), float32; rows up to ``new`` add up to 1, all else is 0.
    """
    before, after = (torch.arange(length, device=old.device).double() + 0.5 for length in (most, side))
    old, new = old.view(-1, 1, 1), new.view(-1, 1, 1)
    step, after = old.double() / new, after[None, :, None]
    place = torch.where(mirrored.view(-1, 1, 1), new - after, after) * step
    inside = (before < old) & (after < new)
    weights = (1 - (before - place).abs() / step.clamp(min=1)).clamp(min=0) * inside
    return (weights / weights.sum(2, keepdim=True).clamp(min=1e-9)).float()


def resample(squares: Tensor, rows: Tensor, columns: Tensor, transposed: Tensor) -> Tensor:
    """Apply :func:`lines` both ways.

    Args:
        squares: (N, C, most, most), float32.
        rows: (N, side, most).
        columns: likewise.
        transposed: (N,), bool.

    Returns:
        (N, C, side, side), float32.
    """
    out = rows[:, None] @ squares @ columns[:, None].mT
    return torch.where(transposed.view(-1, 1, 1, 1), out.mT, out)


def covered(share: Tensor) -> Tensor:
    """Mask of resampled masks (N, H, W): where more than half of a pixel is covered.

    A target smaller than one new pixel keeps its most covered pixels: it dims, but does not cease to exist.
    """
    return share > 0.5 * share.amax((1, 2), keepdim=True).clamp(max=1)
