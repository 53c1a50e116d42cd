"""A pixel mask of a small target from the box around it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nets.normalisation import CHANGE_STEPS

POINT_BOX = 9.0
"""Box edge assumed around a target of which only the centre is known, px."""
RING = 8
"""Width of the surroundings that a target is compared with, px."""
CONTRAST = 4.0
"""Least peak, in grey levels and in robust standard deviations of the surroundings."""
MAX_SECOND_PEAK = 0.7
"""A second peak in the box, as a share of the first, from which on nobody knows which one is the target."""
SHARE = 0.6
"""Largest part of the box that may be target."""
LARGEST = 400
"""Largest area of what is still taken for a target, px."""
GAP = 5
"""Spots that a square of this side covers together are of one target, px."""
MIN_CHANGE = 3.5
"""Least peak of what a target has changed, standard deviations."""


def mask_in_box(picture: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.bool_] | None:
    """Pixels of the target that a box holds: those connected to its peak and at least half as far from the background.

    The background is the plane that fits a ring around the box, the peak the pixel in the box that differs most from
    it, in either direction.

    Args:
        picture: (H, W), uint8.
        box: centre x, centre y, w, h in px; w and h are nan for a point.

    Returns:
        (H, W); none where the target cannot be told from its surroundings: no contrast, two peaks, more
        than most of the box or than ``LARGEST``, or pixels beyond the box.
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
    """Pixels of the target that a box holds by what has changed there: at least half of the peak.

    Of a point, what is connected to the peak; in a box also what is not, and what lies between: a drone is as many
    spots as it has motors, and one target.

    Args:
        change: (H, W), see ``nets.normalisation.change_picture``.
        box: as for ``mask_in_box``.

    Returns:
        (H, W), within a pixel of the box; none where too little has changed.
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
    """Pixels whose centre lies in the box grown by ``margin`` px on each side; (H, W) of ``shape``."""
    x, y, w, h = (POINT_BOX if np.isnan(v) else v for v in box)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = (np.abs(columns - x) <= w / 2 + margin) & (np.abs(rows - y) <= h / 2 + margin)
    return inside


def _plane(picture: NDArray[np.uint8], ring: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The plane through the ring's pixels, (H, W): least squares, then once more without the outer quarter."""
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
