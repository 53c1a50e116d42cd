"""Residual of the current frame against the background estimate, normalised by its standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import cv2
import numpy as np

from pipeline.detect.components import MAD_TO_SIGMA
from pipeline.preprocess.registration import Image

PAST = 3  # frames that a frame is compared with
NOISE_GAIN = {1: 0.355, 2: 0.211, 3: 0.304}
"""Standard deviation of the matched-filter output for white noise of unit standard deviation, by number of past
frames."""
TARGET_SIGMA = 1.0
"""Sigma in px of the Gaussian matched to a point target: blur of the optics and detector of a good infrared camera."""
SURROUND_SIGMA = 3.5  # px, of the wider Gaussian that is subtracted
NEIGHBOURHOOD = 31  # px, side of the window of the local standard deviation
SPARSE = 3
"""Row and column step of the samples for the standard deviation of the frame: as good, in a ninth of the time."""
FEATURE_CELL, MAX_NOISE_RATIO, MIN_FEATURELESS_SHARE = 32, 1.3, 0.9
"""Cell side in px, largest ratio of contrast to noise in a featureless cell, and minimum fraction of featureless cells
(the others may contain targets)."""
_FINEST = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)  # blind to gradients and to horizontal or vertical edges
_RANGE_WEIGHT = 0.5  # weight of the range of the past frames
_MARGIN = 9  # px, ignored border of a frame, and window around pixels out of view
_MEAN_TO_SIGMA = 1.2533  # from mean absolute value to standard deviation of a Gaussian


def contrast(picture: Image) -> Image:
    """Difference-of-Gaussians filter, matched to a point target and insensitive to wider structures."""
    return np.asarray(
        cv2.GaussianBlur(picture, (0, 0), TARGET_SIGMA) - cv2.GaussianBlur(picture, (0, 0), SURROUND_SIGMA), np.float32
    )


def is_featureless(frame: Image) -> bool:
    """Whether the matched filter sees only noise in a frame, so that residuals do not depend on the camera motion.

    In nearly all cells the filter output must be no larger than expected from the pixel-to-pixel noise. This holds for
    clear sky, whatever its gradient, but not for video that was compressed, which has lost the finest noise.

    Args:
        frame: (H, W) float32 in counts, at least 32 px a side.
    """
    finest = np.abs(cv2.filter2D(frame, -1, _FINEST, borderType=cv2.BORDER_REFLECT_101)[::SPARSE, ::SPARSE])
    noise = MAD_TO_SIGMA * float(np.median(finest)) / float(np.linalg.norm(_FINEST))
    response = np.abs(contrast(frame))[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]  # gradients give a response at the border
    rows, columns = (max(1, side // FEATURE_CELL) for side in response.shape)
    cells = cv2.resize(response, (columns, rows), interpolation=cv2.INTER_AREA)
    expected = NOISE_GAIN[1] / math.sqrt(2) * noise / _MEAN_TO_SIGMA
    return bool(np.mean(cells <= MAX_NOISE_RATIO * expected) >= MIN_FEATURELESS_SHARE)


def significance(now: Image, past: Sequence[Image]) -> tuple[Image, float]:
    """Return the change of each pixel against the past frames in standard deviations.

    The background estimate is the median of the past frames, so that a target in one of three leaves no ghost. With two
    past frames it is the median of these and the current frame. A single past frame is used as it is; a target in it
    leaves a ghost, which does not move. The standard deviation is the largest of three estimates: of the whole frame,
    of the neighbourhood (waves, leaves), and from the range of the past frames at the pixel (edges that jitter). The
    first two are derived from absolute values, which a target hardly raises.

    Args:
        now: (H, W) float32 in counts.
        past: One to ``PAST`` frames (H, W), registered to the current frame in position and brightness; NaN where out
            of view.

    Returns:
        Significance (H, W), non-negative, 0 where any past frame is NaN and up to 4 px from there; and the standard
        deviation of the filtered residual over the whole frame in counts, NaN if there is nothing to compare.
    """
    past_range = np.asarray(reduce(np.maximum, past) - reduce(np.minimum, past))
    seen = np.isfinite(past_range)
    change = np.where(seen, now - _background(now, past), 0)
    cv2.patchNaNs(past_range, 0)
    inside = cv2.erode(seen.astype(np.uint8), np.ones((_MARGIN, _MARGIN), np.uint8), borderValue=1) > 0
    if not inside.any():
        return np.zeros_like(now), math.nan
    filtered = contrast(change)
    np.abs(filtered, out=filtered)
    sampled = np.s_[::SPARSE, ::SPARSE]
    noise = MAD_TO_SIGMA * float(np.median(filtered[sampled][inside[sampled]])) if inside[sampled].any() else math.nan
    local = np.asarray(cv2.blur(filtered, (NEIGHBOURHOOD, NEIGHBOURHOOD)), np.float32)
    local *= _MEAN_TO_SIGMA
    range_sigma = contrast(past_range)
    np.abs(range_sigma, out=range_sigma)
    range_sigma *= _RANGE_WEIGHT
    sigma = np.maximum(np.maximum(local, range_sigma, out=local), np.fmax(noise, 1e-3), out=local)
    filtered /= sigma
    filtered[~inside] = 0
    return filtered, noise


def _background(now: Image, past: Sequence[Image]) -> Image:
    """Background estimate: median of three past frames, or of two and the current one, or the single past frame."""
    if len(past) == 1:
        return past[0]
    first, second, third = (*past, now)[:PAST]
    low, high = cv2.min(first, second), cv2.max(first, second)
    return np.asarray(cv2.max(low, cv2.min(high, third)), np.float32)
