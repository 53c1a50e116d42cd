"""From a probability map to detections: connected components, centroids, contrast to the surroundings."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.messages import DETECTION_DTYPE, Table

DetectionFilter = Callable[[Table], NDArray[np.bool_]]
"""Which of the detections (n,) may count at all, by their place: (n,)."""
RING_GUARD = 2
RING_WIDTH = 4
RING_SAMPLES = 32
MIN_SIGMA = 0.5
MAD_TO_SIGMA = 1.4826
GAP = 2
"""Of the network's targets, px. A drone of ten pixels is bright where its motors are, and two targets so close could
not be followed as two."""


def find(
    probability: NDArray[np.float32],
    picture: Picture,
    *,
    threshold: float,
    low_threshold: float,
    min_area: int,
    max_area: int,
    max_detections: int,
    gap: int = 0,
    counts: DetectionFilter | None = None,
) -> Table:
    """Detections of one frame, best first.

    A detection is what hangs together of ``probability >= threshold``. What hangs together of
    ``probability >= low_threshold`` and holds no pixel above ``threshold`` is a detection too, a weak
    one, for trackers with a second association. Strong ones are therefore the same whatever
    ``low_threshold`` is.

    The score is the peak probability: unlike the mean it does not sink with the rim pixels that the
    threshold lets in, so targets of one pixel and of eighty are ranked alike, and it compares with the
    threshold directly. Centroids are weighted by probability.

    Args:
        probability: (H, W), 0..1.
        picture: (H, W), native counts.
        threshold: of strong detections, in (0, 1).
        low_threshold: of weak detections, at most ``threshold``.
        min_area: in pixels; smaller components are dropped.
        max_area: in pixels; larger components are dropped.
        max_detections: the best by score are kept.
        gap: even number of pixels that may lie between parts that hang together; with 0 they have to
            touch, if only at their corners, as in the evaluation protocol.
        counts: asked before the best are chosen, so that what does not count takes no place of what does.

    Returns:
        ``DETECTION_DTYPE``, ordered by descending score, then y, then x.
    """
    above, label, count = _label(probability, threshold, low_threshold, gap)
    if count == 0:
        return np.zeros(0, DETECTION_DTYPE)
    rows, columns = np.divmod(np.flatnonzero(above), above.shape[1])  # a tenth of the time of np.nonzero
    index = label[rows, columns] - 1
    weight = probability[rows, columns].astype(np.float64)

    found = np.zeros(count, DETECTION_DTYPE)
    mass = np.bincount(index, weight)
    found["x"] = np.bincount(index, weight * columns) / mass
    found["y"] = np.bincount(index, weight * rows) / mass
    found["area"] = np.bincount(index)
    np.maximum.at(found["score"], index, weight)
    left, top = np.full(count, above.shape[1]), np.full(count, above.shape[0])
    right, bottom = np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(left, index, columns)
    np.minimum.at(top, index, rows)
    np.maximum.at(right, index, columns)
    np.maximum.at(bottom, index, rows)
    found["bx"], found["by"] = left, top
    found["bw"], found["bh"] = right - left + 1, bottom - top + 1
    brightness = np.bincount(index, weight * picture[rows, columns]) / mass

    kept = np.flatnonzero((found["area"] >= min_area) & (found["area"] <= max_area))
    if counts is not None:
        kept = kept[counts(found[kept])]
    order = np.lexsort((found["x"][kept], found["y"][kept], -found["score"][kept]))
    kept = kept[order[:max_detections]]
    found = found[kept]
    background, sigma = surroundings(picture, above, found)
    found["snr"] = (brightness[kept] - background) / np.maximum(sigma, MIN_SIGMA)
    return found


def _label(
    probability: NDArray[np.float32], threshold: float, low_threshold: float, gap: int
) -> tuple[NDArray[np.bool_], NDArray[np.int32], int]:
    """The pixels of strong components and of low ones that hold no strong pixel, their labels from 1, and how many."""
    strong = probability >= threshold
    if low_threshold < threshold:
        above = probability >= low_threshold
        count, low = _label_within_gap(above, gap)
        holds_strong = np.zeros(count, bool)
        holds_strong[low[strong]] = True
        # A low component without a strong pixel touches none: the union keeps all borders.
        strong[above] |= ~holds_strong[low[above]]
    count, label = _label_within_gap(strong, gap)
    return strong, label, count - 1


def _label_within_gap(mask: NDArray[np.bool_], gap: int) -> tuple[int, NDArray[np.int32]]:
    """Number and labels of what hangs together, the background's included; half the gap around it is labelled too."""
    wider = cv2.dilate(mask.astype(np.uint8), np.ones((gap + 1, gap + 1), np.uint8))
    count, label = cv2.connectedComponents(wider, connectivity=8)
    return count, np.asarray(label, np.int32)


def surroundings(
    picture: Picture, above: NDArray[np.bool_], found: Table
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median and robust sigma (1.4826 MAD) of the background around each bounding box, in counts.

    The ring is sampled along ``RING_WIDTH`` rectangles around the box, the nearest ``RING_GUARD + 1``
    pixels away, with ``RING_SAMPLES`` points on each: the same work for every size of box. Points
    outside the picture or on any component do not count. Where none is left both are 0.

    Args:
        picture: (H, W), native counts.
        above: (H, W), the pixels of components.
        found: detections; their boxes are read.

    Returns:
        (median, sigma), each of shape (n,).
    """
    if len(found) == 0:
        return np.zeros(0), np.zeros(0)
    height, width = picture.shape
    distance = np.arange(RING_GUARD + 1, RING_GUARD + RING_WIDTH + 1)
    left, top = found["bx"][:, None] - distance, found["by"][:, None] - distance
    wide, high = found["bw"][:, None] - 1 + 2 * distance, found["bh"][:, None] - 1 + 2 * distance

    # Walk once round each rectangle: along the top, down, back along the bottom, up.
    walk = np.arange(RING_SAMPLES) / RING_SAMPLES * (2 * (wide + high))[..., None]
    wide, high = wide[..., None], high[..., None]
    x = left[..., None] + np.clip(np.minimum(walk, 2 * wide + high - walk), 0, wide)
    y = top[..., None] + np.clip(np.minimum(walk - wide, 2 * (wide + high) - walk), 0, high)
    columns = np.floor(x + 0.5).astype(int).reshape(len(found), -1)
    rows = np.floor(y + 0.5).astype(int).reshape(len(found), -1)

    valid = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    columns, rows = np.where(valid, columns, 0), np.where(valid, rows, 0)
    valid &= ~above[rows, columns]
    samples = picture[rows, columns].astype(np.float64)
    median = _masked_median(samples, valid)
    return median, MAD_TO_SIGMA * _masked_median(np.abs(samples - median[:, None]), valid)


def _masked_median(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Median of the valid values of each row, 0 where a row has none."""
    ordered = np.sort(np.where(valid, values, np.inf), axis=1)
    count = valid.sum(axis=1)
    row = np.arange(len(values))
    lower = ordered[row, np.maximum(count - 1, 0) // 2]
    upper = ordered[row, np.minimum(count // 2, ordered.shape[1] - 1)]
    return np.where(count > 0, 0.5 * (lower + upper), 0.0)
