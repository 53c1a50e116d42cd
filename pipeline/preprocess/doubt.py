"""Whether two pictures bear a motion out: in both directions, all over the picture, and better than no motion.

A warp smooths the noise of what it moves, and so makes two pictures more alike whatever the motion. Hence each picture
is moved by half, against the other one as in what that is held against; and what counts as shared is the product of
two gradients, not their difference, for the product of two noises is nothing on average.
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

_STILL_PX = 0.5  # too little to show in a difference of pictures
_SPREAD = 0.4  # ground in the lower quarter of the picture has over 0.5, an object of a third of its height 0.36
_CHANGED = 0.1  # share of the pixels asked
_STRUCTURED = 0.5  # noise is the lesser part of the gradients
_SMOOTH = (5, 5)
_TO_HALF = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])  # of blocks of 2 x 2 px
_LEAST = 0.05  # square of a gradient, in levels per px; below are the steps of 8 bits


def explains(a: Picture, b: Picture, matrix: Affine) -> bool:
    """Whether the motion brings structure onto structure, and is next to none or explains more than none does.

    Gradients, since a gain or a shadow that changes must not decide.

    Args:
        a: (h, w) uint8, stretched, at least 32 px a side.
        b: the picture after it, under the same map.
        matrix: from pixels of ``a`` to those of ``b``.
    """
    a, b = _halved(a), _halved(b)
    motion = _TO_HALF @ np.vstack([np.reshape(matrix, (2, 3)), [0.0, 0.0, 1.0]]) @ np.linalg.inv(_TO_HALF)
    height, width = a.shape
    ends = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    largest = float(np.abs(ends @ (motion - np.eye(3)).T).max())
    there = (np.eye(3) + motion) / 2
    first, second = _gradients(a, there), _gradients(b, there @ np.linalg.inv(motion))
    shared = _shared(first, second)
    if _spread(shared) < _SPREAD:
        return False
    if largest < _STILL_PX / 2:
        return True
    unmoved = _gradients(b, there)
    structured = np.maximum(shared, _shared(first, unmoved)) > _STRUCTURED
    return _nearer(first, second, unmoved, structured, math.ceil(largest))


def _shared(a: Gradients, b: Gradients) -> Image:
    """Share of the gradients' power that two pictures have in common, per cell, in the direction where it is least.

    The smaller eigenvalue of N^-1 C, where C is the structure tensor made of one gradient of each picture and N the
    mean of their own. Noise has nothing in common, and an edge nothing along itself.

    Returns:
        (CELLS, CELLS), 0 to 1.
    """
    (ax, ay), (bx, by) = a, b
    cxx, cyy, cxy = _over_cells(ax * bx), _over_cells(ay * by), _over_cells(ax * by + ay * bx) / 2
    nxx, nyy = _over_cells(ax * ax + bx * bx) / 2 + _LEAST, _over_cells(ay * ay + by * by) / 2 + _LEAST
    nxy = _over_cells(ax * ay + bx * by) / 2
    determinant = nxx * nyy - nxy * nxy
    mean = (nyy * cxx - 2 * nxy * cxy + nxx * cyy) / (2 * determinant)
    product = (cxx * cyy - cxy * cxy) / determinant
    return np.asarray(np.clip(mean - np.sqrt(np.maximum(mean * mean - product, 0)), 0, 1), np.float32)


def _spread(shared: Image) -> float:
    """How far over the picture structure is shared, 0 to 1.

    Cells of a line add up in quadrature and lines plainly, along the better axis: ground below a clear sky counts for
    more than an object as large.
    """
    return max(float(np.sqrt(np.square(shared).mean(axis=axis)).mean()) for axis in (0, 1))


def _nearer(a: Gradients, moved: Gradients, unmoved: Gradients, structured: NDArray[np.bool_], margin: int) -> bool:
    """Whether ``a`` is nearer to the moved picture at most pixels that changed, in the cells of some structure.

    Counted, not summed: the ghost of a bright overlay must not outweigh the scene. The overlay itself does not change
    and so has no vote; a static scene behind a large moving object has. Where next to nothing changed, nothing moved.
    """
    height, width = a[0].shape
    inner = np.s_[margin : height - margin, margin : width - margin]
    with_motion, without = (np.square(a[0] - b[0])[inner] + np.square(a[1] - b[1])[inner] for b in (moved, unmoved))
    asked = cv2.resize(structured.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)[inner] > 0
    changed = asked & (without > _LEAST)
    nearer, farther = (np.count_nonzero(changed & v) for v in (with_motion < without, with_motion > without))
    return bool(nearer > max(farther, _CHANGED * np.count_nonzero(asked)))


def _gradients(picture: Image, motion: Matrix) -> Gradients:
    """Gradients along x and y of the moved picture, smoothed until most noise is gone."""
    moved = cv2.warpAffine(picture, motion[:2], picture.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    soft = cv2.blur(moved, _SMOOTH)
    x, y = (cv2.Sobel(soft, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def _halved(picture: Picture) -> Image:
    """The picture averaged over blocks of 2 x 2 px."""
    height, width = (side // 2 for side in picture.shape)
    whole = picture[: 2 * height, : 2 * width].astype(np.float32)
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _over_cells(values: Image) -> Image:
    return np.asarray(cv2.resize(values, (CELLS, CELLS), interpolation=cv2.INTER_AREA), np.float32)
