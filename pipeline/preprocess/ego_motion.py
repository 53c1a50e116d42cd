"""Camera motion between two pictures: sparse optical flow, RANSAC similarity, verification, Gauss-Newton refinement.

A wrong transform does more harm than none. An estimate that fails the quality gate is reported as identity with ``ok``
False, and the tracker widens its gates instead.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from msgspec import Meta, Struct, structs
from numpy.typing import NDArray

from pipeline.messages import EgoMotion
from pipeline.preprocess.flow import Flags, Picture, Points, Shape, cell_of, corners, flow, stretch
from pipeline.preprocess.registration import Reference, smooth
from pipeline.preprocess.verification import explains

Matrix = NDArray[Any]
Positive = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(gt=0, le=1)]

UNKNOWN = EgoMotion()
STILL = EgoMotion(ok=True)

_MIN_SIDE = 32
_STATIC_PX = 0.05  # overlays appear to move by less
_MOVED_PX = 1.0  # a scene behind an overlay that moves by less causes only a small error


class EgoMotionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the ego-motion estimate. Lengths are in px of the downscaled picture that optical flow runs on.

    Attributes:
        enabled: False asserts a static camera: the result is a trusted identity without any computation.
        max_width: Wider pictures are halved until they fit, for this estimate only, but to no side below 64 px.
        inlier_px: Largest distance of an inlier from the fitted motion.
        min_inliers: Minimum number of inliers.
        min_inlier_ratio: Minimum fraction of the tracked points that must be inliers.
        max_residual_px: Largest rms distance of the inliers from the fitted motion.
        max_scale: Largest change of scale per frame, as abs(scale - 1).
        max_rotation_deg: Largest rotation per frame.
        max_shift: Largest shift of the picture's centre per frame, as a fraction of the picture diagonal.
        min_correlation: Minimum correlation of the two pictures after alignment by ECC.
    """

    enabled: bool = True
    max_width: Annotated[int, Meta(ge=64)] = 480
    inlier_px: Positive = 1.5
    min_inliers: Annotated[int, Meta(ge=4)] = 12
    min_inlier_ratio: Fraction = 0.4
    max_residual_px: Positive = 1.0
    max_scale: Positive = 0.1
    max_rotation_deg: Positive = 5.0
    max_shift: Fraction = 0.2
    min_correlation: Fraction = 0.6


class EgoMotionEstimator:
    """Estimates the ego-motion between consecutive pictures of one source."""

    def __init__(self, config: EgoMotionConfig) -> None:
        self.config = config
        self._previous: Picture | None = None

    def estimate(self, picture: Picture) -> EgoMotion:
        """Estimate the motion since the previous picture.

        Args:
            picture: (h, w) uint8 or uint16, any size.

        Returns:
            The motion; ``UNKNOWN`` for the first picture and after a change of size or dtype.

        Raises:
            ValueError: The picture is not two-dimensional or has another dtype.
        """
        _check(picture)
        if not self.config.enabled:
            return STILL
        previous, self._previous = self._previous, picture.copy()
        return UNKNOWN if previous is None else fit(previous, picture, self.config)


def fit(previous: Picture, current: Picture, config: EgoMotionConfig) -> EgoMotion:
    """Estimate the motion between two pictures by optical flow, or by ECC where that is rejected.

    Args:
        previous: (h, w) uint8 or uint16.
        current: (h, w) uint8 or uint16.
        config: Settings, including the limits of the quality gate.

    Returns:
        The motion from ``previous`` to ``current``; ``UNKNOWN`` if both methods fail, or if the pictures are too small
        or differ in size or dtype.

    Raises:
        ValueError: A picture is not two-dimensional or has another dtype.
    """
    _check(previous)
    _check(current)
    if previous.shape != current.shape or previous.dtype != current.dtype:
        return UNKNOWN
    wanted = math.ceil(math.log2(previous.shape[1] / config.max_width))
    allowed = math.floor(math.log2(min(previous.shape) / (2 * _MIN_SIDE)))  # keeps both sides of narrow strips
    factor = 2 ** max(0, min(wanted, allowed))
    a, b = stretch(_shrink(previous, factor), _shrink(current, factor))
    if min(a.shape) < _MIN_SIDE:
        return UNKNOWN
    for method in (_by_flow, _by_ecc):
        motion = method(a, b, config)
        if motion is not None and explains(a, b, motion.matrix):
            return _refine(previous, current, _enlarge(motion, factor)) if motion.ok else UNKNOWN
    return UNKNOWN


def _refine(previous: Picture, current: Picture, motion: EgoMotion) -> EgoMotion:
    """Refine the motion by one Gauss-Newton step on the full-size pictures, see ``Reference.register``.

    Optical flow alone underestimates a pan over soft clouds, because most of what its window sees does not change.
    """
    now, past = (smooth(picture.astype(np.float32)) for picture in (current, previous))
    refined, _, _ = Reference(now).register(past, np.vstack([np.reshape(motion.matrix, (2, 3)), [0.0, 0.0, 1.0]]))
    a, b, tx, c, d, ty = refined[:2].ravel().tolist()
    return structs.replace(motion, matrix=(a, b, tx, c, d, ty))


def _by_flow(a: Picture, b: Picture, config: EgoMotionConfig) -> EgoMotion | None:
    """Estimate a similarity from sparse optical flow.

    Returns:
        The motion; None if the points do not agree; ``UNKNOWN`` if overlay and moving scene are about equally large.
    """
    before, after = flow(a, b, corners(a))
    motion, inliers = _similarity(before, after, a.shape, config)
    if motion is None:
        return None
    shift = np.linalg.norm(after - before, axis=1)
    if np.median(shift[inliers]) > _STATIC_PX:
        return motion
    # Points without motion may belong to an overlay on a moving scene, so fit the moving points separately.
    moved = shift > _MOVED_PX
    second, agreeing = _similarity(before[moved], after[moved], a.shape, config)
    if second is None or not explains(a, b, second.matrix):
        return motion
    still_area, moved_area = _area(before[inliers], a.shape), _area(before[moved][agreeing], a.shape)
    if moved_area >= still_area:
        return second
    return UNKNOWN if 4 * moved_area >= still_area else motion


def _similarity(before: Points, after: Points, shape: Shape, config: EgoMotionConfig) -> tuple[EgoMotion | None, Flags]:
    """Fit shift, rotation and scale by RANSAC. Return the motion, None if it fails the gate, and the inlier flags."""
    no_inliers = np.zeros(len(before), bool)
    if len(before) < config.min_inliers:
        return None, no_inliers
    cv2.setRNGSeed(0)
    matrix, mask = cv2.estimateAffinePartial2D(before, after, ransacReprojThreshold=config.inlier_px)
    if matrix is None or not _plausible(matrix, shape, config):
        return None, no_inliers
    inliers = mask.ravel().astype(bool)
    error = before[inliers] @ matrix[:, :2].T + matrix[:, 2] - after[inliers]
    residual = float(np.sqrt(np.square(error).sum(axis=1).mean())) if inliers.any() else math.inf
    enough = inliers.sum() >= max(config.min_inliers, config.min_inlier_ratio * len(before))
    if not enough or residual > config.max_residual_px:
        return None, no_inliers
    return _motion(matrix, "flow", int(inliers.sum()), residual), inliers


def _by_ecc(a: Picture, b: Picture, config: EgoMotionConfig) -> EgoMotion | None:
    """Estimate shift and rotation by maximising the correlation at half size (Evangelidis and Psarakis, PAMI 2008)."""
    if min(a.shape) < 2 * _MIN_SIDE:
        return None
    small_a, small_b = _shrink(a, 2).astype(np.float32), _shrink(b, 2).astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    start = np.eye(2, 3, dtype=np.float32)
    full_mask = np.full(small_b.shape, 255, np.uint8)
    try:
        correlation, warp = cv2.findTransformECC(small_a, small_b, start, cv2.MOTION_EUCLIDEAN, criteria, full_mask, 5)
    except cv2.error:  # raised when the iteration diverges
        return None
    matrix = np.asarray(warp, np.float64)
    if correlation < config.min_correlation or not _plausible(matrix, small_a.shape, config):
        return None
    return _enlarge(_motion(matrix, "ecc", 0, 0.0), 2)


def _motion(matrix: Matrix, method: Literal["flow", "ecc"], inliers: int, residual: float) -> EgoMotion:
    a, b, tx, c, d, ty = matrix.ravel().tolist()
    return EgoMotion(matrix=(a, b, tx, c, d, ty), inliers=inliers, residual=residual, ok=True, method=method)


def _plausible(matrix: Matrix, shape: Shape, config: EgoMotionConfig) -> bool:
    """Whether the transform is finite and within the limits of scale, rotation and shift of the picture's centre."""
    if not np.isfinite(matrix).all():
        return False
    centre = np.array([shape[1] - 1, shape[0] - 1]) / 2
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    rotation = math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))
    shift = float(np.linalg.norm(matrix[:, :2] @ centre + matrix[:, 2] - centre))
    return (
        abs(scale - 1) <= config.max_scale
        and abs(rotation) <= config.max_rotation_deg
        and shift <= config.max_shift * math.hypot(*shape[:2])
    )


def _area(points: Points, shape: Shape) -> int:
    """Return the number of grid cells that contain points."""
    return len(np.unique(cell_of(points[:, 0], points[:, 1], shape)))


def _shrink(picture: Picture, factor: int) -> Picture:
    """Average the picture over blocks of factor x factor px; leftover rows and columns are cut off."""
    if factor == 1:
        return picture
    height, width = (side // factor for side in picture.shape)
    whole = picture[: height * factor, : width * factor]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA) if whole.size else whole


def _enlarge(motion: EgoMotion, factor: int) -> EgoMotion:
    """Convert a motion estimated on a downscaled picture to the full-size picture.

    The centre of the first downscaled pixel is at (factor - 1) / 2 in the full-size picture.
    """
    a, b, tx, c, d, ty = motion.matrix
    centre = (factor - 1) / 2
    tx = factor * tx + centre * (1 - a - b)
    ty = factor * ty + centre * (1 - c - d)
    return structs.replace(motion, matrix=(a, b, tx, c, d, ty), residual=factor * motion.residual)


def _check(picture: Picture) -> None:
    if picture.ndim != 2 or picture.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"picture: expected (h, w) uint8 or uint16, got {picture.shape} {picture.dtype}")
