"""Batched resampling, mirroring and transposition of squares, each with its own scale, by two matrix products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Axes = tuple[Tensor, Tensor]
NEAR = 2
"""Reach of the filter on a reduced mask, px; mask pixels further apart belong to different targets."""


def lines(old: Tensor, new: Tensor, most: int, side: int, mirrored: Tensor) -> Tensor:
    """Weights that resample N lines of pixels: bilinear interpolation with antialiasing.

    This is the filter of ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)``; with ``old == new`` it
    is the identity.

    Args:
        old: (N,), int64, number of pixels of each line before resampling.
        new: (N,), int64, number of pixels of each line after resampling.
        most: Number of input pixels, at least the maximum of ``old``.
        side: Number of output pixels, at least the maximum of ``new``.
        mirrored: (N,), bool, whether the output is reversed.

    Returns:
        (N, side, most), float32; the first ``new`` rows sum to 1, all other values are 0.
    """
    before, after = (torch.arange(length, device=old.device).double() + 0.5 for length in (most, side))
    old, new = old.view(-1, 1, 1), new.view(-1, 1, 1)
    step, after = old.double() / new, after[None, :, None]
    place = torch.where(mirrored.view(-1, 1, 1), new - after, after) * step
    inside = (before < old) & (after < new)
    weights = (1 - (before - place).abs() / step.clamp(min=1)).clamp(min=0) * inside
    return (weights / weights.sum(2, keepdim=True).clamp(min=1e-9)).float()


def resample(squares: Tensor, rows: Tensor, columns: Tensor, transposed: Tensor) -> Tensor:
    """Apply the weights of :func:`lines` to rows and columns, then transpose where asked.

    Args:
        squares: (N, C, most, most), float32.
        rows: (N, side, most), weights that map input rows to output rows.
        columns: (N, side, most), likewise for columns.
        transposed: (N,), bool, whether the result is transposed.

    Returns:
        (N, C, side, side), float32.
    """
    out = rows[:, None] @ squares @ columns[:, None].mT
    return torch.where(transposed.view(-1, 1, 1, 1), out.mT, out)


def nearest_weights(old: Tensor, new: Tensor, most: int, side: int, mirrored: Tensor) -> Tensor:
    """Like :func:`lines`, but each output pixel takes the one input pixel under its centre (nearest neighbour).

    This is the published resampling of masks, see ``training.metrics.legacy.shrink_label``. Of two input pixels it
    takes the second, so that halved masks lie a quarter of an output pixel up and to the left of their targets.
    """
    before = torch.arange(most, device=old.device)
    after = torch.arange(side, device=old.device)[None, :, None]
    old, new = old.view(-1, 1, 1), new.view(-1, 1, 1)
    place = torch.where(mirrored.view(-1, 1, 1), new - 1 - after, after)
    return ((before == (2 * place + 1) * old // (2 * new)) & (after < new)).float()


def threshold_coverage(share: Tensor) -> Tensor:
    """Binarise resampled masks (N, H, W): a pixel is set if more than half of it is covered.

    Near targets that cover no pixel fully, the threshold is half of the largest coverage within ``NEAR`` px. So a
    target smaller than one output pixel keeps its most covered pixels and does not vanish.
    """
    most = F.max_pool2d(share[:, None], 2 * NEAR + 1, stride=1, padding=NEAR)[:, 0]
    return share > 0.5 * most.clamp(max=1)


def resample_masks(
    share: Tensor, masks: Tensor, old: Axes, new: Axes, mirrored: Axes, transposed: Tensor, nearest: Tensor
) -> Tensor:
    """Masks of resampled squares, by :func:`threshold_coverage`, or by :func:`nearest_weights` where asked.

    Args:
        share: (N, side, side), float32, masks resampled by :func:`resample`.
        masks: (N, most, most), float32 in {0, 1}, masks before resampling.
        old: Two tensors (N,), for rows and columns, as in :func:`lines`.
        new: Two tensors (N,), likewise.
        mirrored: Two tensors (N,), likewise.
        transposed: (N,), bool.
        nearest: (N,), bool, which masks are resampled by the nearest pixel.

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
