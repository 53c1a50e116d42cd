"""Verify an estimated motion: structure must match along both axes, across the picture, and better than without motion.

Warping smooths noise and so makes two pictures more similar whatever the motion. Therefore each picture is warped by
half of the motion, in the comparison without motion as well. Shared structure is measured by the product of two
gradients rather than by their difference, because the product of independent noise is zero on average.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.messages import Affine
from pipeline.preprocess.flow import CELLS, Picture

Image = NDArray[np.float32]
Gradients = tuple[Image, Image]
Matrix = NDArray[np.float64]

_STILL_PX = 0.5  # smaller motions do not show in a difference of pictures
_MIN_SPREAD = 0.4  # ground in the lower quarter of the picture has over 0.5, an object of a third of its height 0.36
_MIN_CHANGED = 0.1  # fraction of the pixels in structured cells
_MIN_SHARED = 0.5  # above this, noise is the smaller part of the gradients
_SMOOTH = (5, 5)
_TO_HALF = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])  # to coordinates of blocks of 2 x 2 px
_MIN_POWER = 0.05  # squared gradient, (levels per px)^2; smaller ones are due to 8-bit quantisation


def explains(a: Picture, b: Picture, matrix: Affine) -> bool:
    """Whether the motion aligns structure, and either is nearly zero or explains the pictures better than no motion.

    Gradients are compared, so that changes of gain or shadows do not decide.

    Args:
        a: (h, w) uint8, after ``flow.stretch``, at least 32 px a side.
        b: The following picture, stretched by the same map.
        matrix: Affine transform from pixels of ``a`` to pixels of ``b``.
    """
    a, b = _halved(a), _halved(b)
    motion = _TO_HALF @ np.vstack([np.reshape(matrix, (2, 3)), [0.0, 0.0, 1.0]]) @ np.linalg.inv(_TO_HALF)
    height, width = a.shape
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    largest = float(np.abs(corners @ (motion - np.eye(3)).T).max())
    midway = (np.eye(3) + motion) / 2
    first, second = _gradients(a, midway), _gradients(b, midway @ np.linalg.inv(motion))
    shared = _shared_structure(first, second)
    if _spread(shared) < _MIN_SPREAD:
        return False
    if largest < _STILL_PX / 2:
        return True
    unmoved = _gradients(b, midway)
    structured = np.maximum(shared, _shared_structure(first, unmoved)) > _MIN_SHARED
    return _closer_when_moved(first, second, unmoved, structured, math.ceil(largest))


def _shared_structure(a: Gradients, b: Gradients) -> Image:
    """Fraction of the gradient power that two pictures share, per cell, in the direction in which it is lowest.

    This is the smaller eigenvalue of N^-1 C, where C is the cross structure tensor of the two gradients and N the mean
    of their own structure tensors. Noise shares no power, and an edge shares none along its direction.

    Returns:
        (CELLS, CELLS) values from 0 to 1.
    """
    (ax, ay), (bx, by) = a, b
    cxx, cyy, cxy = _over_cells(ax * bx), _over_cells(ay * by), _over_cells(ax * by + ay * bx) / 2
    nxx, nyy = _over_cells(ax * ax + bx * bx) / 2 + _MIN_POWER, _over_cells(ay * ay + by * by) / 2 + _MIN_POWER
    nxy = _over_cells(ax * ay + bx * by) / 2
    determinant = nxx * nyy - nxy * nxy
    mean = (nyy * cxx - 2 * nxy * cxy + nxx * cyy) / (2 * determinant)
    product = (cxx * cyy - cxy * cxy) / determinant
    return np.asarray(np.clip(mean - np.sqrt(np.maximum(mean * mean - product, 0)), 0, 1), np.float32)


def _spread(shared: Image) -> float:
    """Measure from 0 to 1 of how widely shared structure extends over the picture.

    The cells of each row are combined by their root mean square and the rows by their mean; likewise for columns, and
    the larger value counts. A strip of ground below a clear sky thus scores higher than a compact object of equal area.
    """
    return max(float(np.sqrt(np.square(shared).mean(axis=axis)).mean()) for axis in (0, 1))


def _closer_when_moved(
    a: Gradients, moved: Gradients, unmoved: Gradients, structured: NDArray[np.bool_], margin: int
) -> bool:
    """Whether ``a`` is closer to the moved picture at most of the changed pixels in structured cells.

    Pixels are counted rather than differences summed, so that the ghost of a bright overlay does not outweigh the
    scene. The overlay itself does not change and is not counted; a static scene behind a large moving object is. The
    result is False if hardly any pixels changed.
    """
    height, width = a[0].shape
    inner = np.s_[margin : height - margin, margin : width - margin]
    with_motion, without = (np.square(a[0] - b[0])[inner] + np.square(a[1] - b[1])[inner] for b in (moved, unmoved))
    included = cv2.resize(structured.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)[inner] > 0
    changed = included & (without > _MIN_POWER)
    nearer, farther = (np.count_nonzero(changed & v) for v in (with_motion < without, with_motion > without))
    return bool(nearer > max(farther, _MIN_CHANGED * np.count_nonzero(included)))


def _gradients(picture: Image, motion: Matrix) -> Gradients:
    """Return the gradients along x and y of the warped picture, after smoothing that removes most of the noise."""
    moved = cv2.warpAffine(picture, motion[:2], picture.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    soft = cv2.blur(moved, _SMOOTH)
    x, y = (cv2.Sobel(soft, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def _halved(picture: Picture) -> Image:
    """Average the picture over blocks of 2 x 2 px."""
    height, width = (side // 2 for side in picture.shape)
    whole = picture[: 2 * height, : 2 * width].astype(np.float32)
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _over_cells(values: Image) -> Image:
    return np.asarray(cv2.resize(values, (CELLS, CELLS), interpolation=cv2.INTER_AREA), np.float32)
