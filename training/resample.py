"""Squares resampled, mirrored and transposed, each its own way, by two matrix products for all of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Axes = tuple[Tensor, Tensor]
NEAR = 2
"""How far the filter spreads a pixel of a mask that is reduced: what lies further off is another target, px."""


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


def nearest_weights(old: Tensor, new: Tensor, most: int, side: int, mirrored: Tensor) -> Tensor:
    """As :func:`lines`, but each new pixel takes the one old pixel under its centre.

    The published resampling of masks, ``training.metrics.legacy.shrink_label``: of two old pixels the second, so that
    halved masks lie a quarter of a new pixel up and to the left of their targets.
    """
    before = torch.arange(most, device=old.device)
    after = torch.arange(side, device=old.device)[None, :, None]
    old, new = old.view(-1, 1, 1), new.view(-1, 1, 1)
    place = torch.where(mirrored.view(-1, 1, 1), new - 1 - after, after)
    return ((before == (2 * place + 1) * old // (2 * new)) & (after < new)).float()


def threshold_coverage(share: Tensor) -> Tensor:
    """Mask of resampled masks (N, H, W): where more than half of a pixel is covered.

    A target smaller than one new pixel keeps its most covered pixels, whatever else the mask holds: it dims, but does
    not cease to exist.
    """
    most = F.max_pool2d(share[:, None], 2 * NEAR + 1, stride=1, padding=NEAR)[:, 0]
    return share > 0.5 * most.clamp(max=1)


def resample_masks(
    share: Tensor, masks: Tensor, old: Axes, new: Axes, mirrored: Axes, transposed: Tensor, nearest: Tensor
) -> Tensor:
    """Masks of squares that were resampled: :func:`covered`, or :func:`picks` where that is asked for.

    Args:
        share: (N, side, side), float32, the masks as :func:`resample` made them.
        masks: (N, most, most), float32 in {0, 1}, before.
        old: (N,) each, of rows and of columns, as in :func:`lines`.
        new: likewise.
        mirrored: likewise.
        transposed: (N,), bool.
        nearest: (N,), bool, which of them are picked.

    Returns:
        (N, side, side), bool.
    """
    out = threshold_coverage(share)
    if nearest.any():
        rows, columns = (
            nearest_weights(before[nearest], after[nearest], masks.shape[-1], share.shape[-1], backwards[nearest])
            for before, after, backwards in zip(old, new, mirrored, strict=True)
        )
        out[nearest] = resample(masks[nearest, None], rows, columns, transposed[nearest])[:, 0] > 0
    return out
