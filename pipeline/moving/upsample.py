"""Upsample frames by two, so that they can be warped accurately with bilinear interpolation.

A past frame is warped again for every new frame. Upsampling it with a good filter is done only once, when the frame is
stored. Bilinear interpolation of the upsampled frame then takes a quarter of the time of OpenCV's bicubic interpolation
of the original (which rounds positions to 1/32 px), and its error on a scene with edges is a third to a half as large.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from pipeline.preprocess.registration import Image, Matrix

_WHOLE_PIXEL_TAP = np.ones(1)
# Interpolates half way between pixels. Least-squares fit of the frequency response at that point and at all points that
# bilinear interpolation derives from it, over the passband of ``residual.contrast``, for pictures whose amplitude falls
# with the frequency.
_HALF_PIXEL_TAPS = np.array([0.0318, -0.1617, 0.6299, 0.6299, -0.1617, 0.0318])


def upsample(frame: Image) -> Image:
    """Upsample a frame by two: its own pixels and interpolated values half way between them.

    The border is extended by reflection for the interpolation. Around the result each outermost value is repeated, so
    that the outermost pixels remain in view when the camera moves by less than half a pixel.

    Args:
        frame: (H, W) float32.

    Returns:
        (2H + 1, 2W + 1) float32; the first pixel is at (1, 1).
    """
    height, width = frame.shape
    samples = np.empty((2 * height - 1, 2 * width - 1), np.float32)
    for top, down in enumerate((_WHOLE_PIXEL_TAP, _HALF_PIXEL_TAPS)):
        for left, along in enumerate((_WHOLE_PIXEL_TAP, _HALF_PIXEL_TAPS)):
            anchor = ((len(along) - 1) // 2, (len(down) - 1) // 2)
            filtered = cv2.sepFilter2D(frame, -1, along, down, anchor=anchor, borderType=cv2.BORDER_REFLECT_101)
            samples[top::2, left::2] = filtered[: height - top, : width - left]
    return np.asarray(cv2.copyMakeBorder(samples, 1, 1, 1, 1, cv2.BORDER_REPLICATE), np.float32)


def warp_upsampled(samples: Image, to_now: Matrix) -> Image:
    """Warp a frame by a transform.

    Args:
        samples: (2H + 1, 2W + 1) output of ``upsample``.
        to_now: (3, 3) affine transform from pixels of the original frame to pixels of the result.

    Returns:
        (H, W) float32, NaN more than half a pixel outside the frame.
    """
    height, width = samples.shape
    matrix = to_now[:2].copy()
    matrix[:, :2] /= 2
    matrix[:, 2] -= matrix[:, :2].sum(axis=1)
    size = (width // 2, height // 2)
    return np.asarray(cv2.warpAffine(samples, matrix, size, flags=cv2.INTER_LINEAR, borderValue=math.nan), np.float32)
