"""Pixel mask of a small target from its bounding box."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nets.normalisation import CHANGE_STEPS

POINT_BOX = 9.0
"""Side of the box assumed around a target of which only the centre is known, px."""
RING = 8
"""Width of the surrounding ring that a target is compared with, px."""
CONTRAST = 4.0
"""Minimum contrast of the peak, both in grey levels and in robust standard deviations of the surroundings."""
MAX_SECOND_PEAK = 0.7
"""Contrast of a second peak in the box, relative to the first, above which the target is ambiguous."""
SHARE = 0.6
"""Largest share of the box that the target may cover."""
LARGEST = 400
"""Largest area that is still accepted as a target, in pixels."""
GAP = 5
"""Side of the closing kernel that joins neighbouring spots to one target, px."""
MIN_CHANGE = 3.5
"""Minimum peak of the change that a target causes, in standard deviations."""


def mask_in_box(picture: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.bool_] | None:
    """Segment the target in a box: the pixels connected to its peak with at least half the contrast of the peak.

    Contrast is the difference from the background, a plane fitted to a ring around the box. The peak is the pixel in
    the box with the largest absolute contrast, bright or dark.

    Args:
        picture: (H, W) uint8.
        box: centre x, centre y, w, h in px; w and h are nan for a point.

    Returns:
        (H, W), or None if the target cannot be separated from its surroundings: too little contrast, a second peak, a
        region larger than ``SHARE`` of the box or than ``LARGEST``, or pixels outside the box.
    """
    inside = in_box(picture.shape, box, 0)
    ring = in_box(picture.shape, box, 2 + RING) & ~in_box(picture.shape, box, 2)
    if not inside.any() or not ring.any():
        return None
    contrast = picture - _plane(picture, ring)
    spread = 1.4826 * float(np.median(np.abs(contrast[ring])))
    y, x = np.unravel_index(np.argmax(np.abs(contrast) * inside), picture.shape)
    peak = float(contrast[y, x])
    if abs(peak) < CONTRAST * max(1.0, spread):
        return None
    above = (contrast * np.sign(peak) >= abs(peak) / 2).astype(np.uint8)
    labels = cv2.connectedComponents(above, connectivity=8)[1]
    mask: NDArray[np.bool_] = labels == labels[y, x]
    around = in_box(picture.shape, box, 2)
    elsewhere = around & ~cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    rival = float(np.abs(contrast[elsewhere]).max(initial=0.0))
    spills, fills = bool((mask & ~around).any()), mask.sum() > min(LARGEST, SHARE * max(inside.sum(), 9))
    return None if spills or fills or rival > MAX_SECOND_PEAK * abs(peak) else mask


def changed_in_box(change: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.bool_] | None:
    """Segment the target in a box by its changes: the pixels with at least half the peak of the change picture.

    For a point, only pixels connected to the peak count. In a box, unconnected spots and the gaps between them count
    too: a drone appears as one spot per motor, but is one target.

    Args:
        change: (H, W), see ``nets.normalisation.change_picture``.
        box: as for ``mask_in_box``.

    Returns:
        (H, W), limited to the box grown by one pixel; None if too little has changed.
    """
    inside = np.where(in_box(change.shape, box, 0), change, 0)
    y, x = np.unravel_index(np.argmax(inside), change.shape)
    peak = float(inside[y, x])
    if peak < MIN_CHANGE * CHANGE_STEPS:
        return None
    near = in_box(change.shape, box, 1)
    high = ((change >= peak / 2) & near).astype(np.uint8)
    if np.isnan(box[2]):
        labels = cv2.connectedComponents(high, connectivity=8)[1]
        return np.asarray(labels == labels[y, x])
    return np.asarray(cv2.morphologyEx(high, cv2.MORPH_CLOSE, np.ones((GAP, GAP), np.uint8)) > 0) & near


def in_box(shape: tuple[int, ...], box: tuple[float, float, float, float], margin: float) -> NDArray[np.bool_]:
    """Mark the pixels whose centre lies in the box grown by ``margin`` px on each side; (H, W) of ``shape``."""
    x, y, w, h = (POINT_BOX if np.isnan(v) else v for v in box)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = (np.abs(columns - x) <= w / 2 + margin) & (np.abs(rows - y) <= h / 2 + margin)
    return inside


def _plane(picture: NDArray[np.uint8], ring: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fit a plane (H, W) to the pixels of the ring by least squares, then again without the worst quarter."""
    rows, columns = np.indices(picture.shape)
    design = np.stack([np.ones(picture.size), columns.ravel(), rows.ravel()], axis=1)
    chosen = np.flatnonzero(ring)
    values = picture.ravel().astype(float)
    for _ in range(2):
        plane = design @ np.linalg.lstsq(design[chosen], values[chosen], rcond=None)[0]
        residual = np.abs(values[chosen] - plane[chosen])
        chosen = chosen[residual <= np.quantile(residual, 0.75)]
    fitted: NDArray[np.float64] = plane.reshape(picture.shape)
    return fitted
