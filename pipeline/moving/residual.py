"""The present frame less what was there before, in units of what such differences usually are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import cv2
import numpy as np

from pipeline.detect.components import MAD_TO_SIGMA
from pipeline.preprocess.registration import Image

PAST = 3
FILTERED = {1: 0.355, 2: 0.211, 3: 0.304}
"""By the number of past frames: deviation of what is matched with a target, where frames have white noise of 1."""
TARGET_SIGMA = 1.0
"""Of the Gaussian that a point target is matched with, px: optics and detector of a good infrared camera."""
SURROUND_SIGMA = 3.5
NEIGHBOURHOOD = 31
SPARSE = 3
"""Of the rows and of the columns, one in so many tells the deviation of the frame as well, in a ninth of the time."""
FEATURE_CELL, MORE_THAN_NOISE, FEATURELESS = 32, 1.3, 0.9
"""Px, times the deviation of noise, and share of the cells that may not have more: the rest is left to targets."""
_FINEST = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)  # blind to slopes and to edges along a side
_SHAKE = 0.5
_MARGIN = 9
_MEAN_TO_SIGMA = 1.2533


def contrast(picture: Image) -> Image:
    """Matched to a point target, and blind to whatever is wider than one: a difference of Gaussians."""
    return np.asarray(
        cv2.GaussianBlur(picture, (0, 0), TARGET_SIGMA) - cv2.GaussianBlur(picture, (0, 0), SURROUND_SIGMA), np.float32
    )


def is_featureless(frame: Image) -> bool:
    """Whether a frame shows noise alone to what looks for targets, so that any motion of the camera leaves the same.

    Nearly everywhere the deviation of its contrast is what the noise from pixel to pixel makes it. Clear sky is like
    that, whatever its slope; noise that a coder has touched is not, having lost its finest part.

    Args:
        frame: (H, W), counts, at least 32 px a side.
    """
    finest = np.abs(cv2.filter2D(frame, -1, _FINEST, borderType=cv2.BORDER_REFLECT_101)[::SPARSE, ::SPARSE])
    noise = MAD_TO_SIGMA * float(np.median(finest)) / float(np.linalg.norm(_FINEST))
    found = np.abs(contrast(frame))[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]  # a slope ends at the rim
    rows, columns = (max(1, side // FEATURE_CELL) for side in found.shape)
    cells = cv2.resize(found, (columns, rows), interpolation=cv2.INTER_AREA)
    expected = FILTERED[1] / math.sqrt(2) * noise / _MEAN_TO_SIGMA
    return bool(np.mean(cells <= MORE_THAN_NOISE * expected) >= FEATURELESS)


def significance(now: Image, past: Sequence[Image]) -> tuple[Image, float]:
    """How many standard deviations each place has changed since some past frames.

    The past is their median: a target in one of three leaves no hole. Of two it is whatever lies between them, and
    after a single one there is a hole, which stands still. The deviation is the largest of three: of the whole frame,
    of the neighbourhood (waves, leaves), and of the past frames from each other at that place (edges that shake). The
    first two are read off absolute values, which a target hardly raises.

    Args:
        now: (H, W), counts.
        past: one to ``PAST`` frames (H, W) in the coordinates and the brightness of this one; NaN where out of view.

    Returns:
        (H, W), 0 or above, 0 where any of them is NaN and up to 4 px from there; and the deviation of the whole frame,
        counts, 0 where there is nothing to compare.
    """
    spread = np.asarray(reduce(np.maximum, past) - reduce(np.minimum, past))
    seen = np.isfinite(spread)
    change = np.where(seen, now - _usual(now, past), 0)
    cv2.patchNaNs(spread, 0)
    inside = cv2.erode(seen.astype(np.uint8), np.ones((_MARGIN, _MARGIN), np.uint8), borderValue=1) > 0
    if not inside.any():
        return np.zeros_like(now), 0.0
    found = contrast(change)
    np.abs(found, out=found)
    few = np.s_[::SPARSE, ::SPARSE]
    noise = MAD_TO_SIGMA * float(np.median(found[few][inside[few]])) if inside[few].any() else 0.0
    local = np.asarray(cv2.blur(found, (NEIGHBOURHOOD, NEIGHBOURHOOD)), np.float32)
    local *= _MEAN_TO_SIGMA
    shake = contrast(spread)
    np.abs(shake, out=shake)
    shake *= _SHAKE
    sigma = np.maximum(np.maximum(local, shake, out=local), max(noise, 1e-3), out=local)
    found /= sigma
    found[~inside] = 0
    return found, noise


def _usual(now: Image, past: Sequence[Image]) -> Image:
    """Median of three past frames, or of two and the present one."""
    if len(past) == 1:
        return past[0]
    first, second, third = (*past, now)[:PAST]
    low, high = cv2.min(first, second), cv2.max(first, second)
    return np.asarray(cv2.max(low, cv2.min(high, third)), np.float32)
