"""The strict protocol: native resolution, one-to-one matching, all unmatched components counted as false alarms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

MATCH_RADIUS = 3.0
SIZE_BINS = ((1, 4), (5, 9), (10, 25), (26, None))

Mask = NDArray[np.bool_]


def components(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find 8-connected components, in raster order of their first pixel.

    Args:
        mask: (H, W).

    Returns:
        Areas (K,) in pixels and unweighted centroids (K, 2) as row and column.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), int))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    centroids = np.array(ndimage.center_of_mass(mask, labels, range(1, count + 1)), float).reshape(count, 2)
    return areas, centroids


def match(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match predicted and true centroids one to one, within 3 px.

    The matching has as many pairs as possible and, among those, the smallest sum of distances.

    Args:
        predicted: (P, 2) centroids.
        true: (T, 2) centroids.

    Returns:
        Indices of the pairs into ``predicted`` and into ``true``.
    """
    distance = cdist(predicted, true)
    # A forbidden pair costs more than all allowed pairs together, so it never displaces an allowed pair.
    forbidden = MATCH_RADIUS * (min(distance.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(distance < MATCH_RADIUS, distance, forbidden))
    near = distance[rows, columns] < MATCH_RADIUS
    return rows[near], columns[near]


class StrictScore:
    """Pooled scores of a set of pictures at one threshold.

    IoU = true positive pixels / union pixels over all pictures. nIoU = mean IoU per picture, over the pictures where
    truth or prediction is not empty. Pd = matched targets / targets. Fa = pixels of unmatched predicted components /
    all pixels. Figures with an empty denominator are None.
    """

    def __init__(self) -> None:
        self.pictures = self.pixels = self.intersection = self.union = 0
        self.ious: list[float] = []
        self.targets = np.zeros(len(SIZE_BINS), int)
        self.found = np.zeros(len(SIZE_BINS), int)
        self.false_pixels = self.false_components = 0

    def update(self, predicted: Mask, true: Mask) -> None:
        """Add one picture: both (H, W), boolean."""
        self.pictures += 1
        self.pixels += true.size
        intersection, union = int((predicted & true).sum()), int((predicted | true).sum())
        self.intersection += intersection
        self.union += union
        if union:
            self.ious.append(intersection / union)

        areas, centroids = components(predicted)
        true_areas, true_centroids = components(true)
        hits, hit_targets = match(centroids, true_centroids)
        self.targets += _by_size(true_areas)
        self.found += _by_size(true_areas[hit_targets])
        self.false_components += len(areas) - len(hits)
        self.false_pixels += int(areas.sum() - areas[hits].sum())

    @property
    def iou(self) -> float | None:
        """Pooled IoU."""
        return _ratio(self.intersection, self.union)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of Pd and the fraction of predicted components that are targets."""
        found, targets = int(self.found.sum()), int(self.targets.sum())
        return _ratio(2 * found, found + self.false_components + targets)

    def summary(self) -> dict[str, Any]:
        """Return all figures as plain values; ``fa`` is a fraction of pixels (multiply by 1e6 for the usual unit)."""
        found, targets = int(self.found.sum()), int(self.targets.sum())
        sizes = {
            f"{low}-{high or ''}": {"targets": int(total), "pd": _ratio(int(hit), int(total))}
            for (low, high), total, hit in zip(SIZE_BINS, self.targets, self.found, strict=True)
        }
        return {
            "pictures": self.pictures,
            "targets": targets,
            "iou": self.iou,
            "niou": math.fsum(self.ious) / len(self.ious) if self.ious else None,
            "pd": _ratio(found, targets),
            "fa": _ratio(self.false_pixels, self.pixels),
            "false_alarms_per_picture": _ratio(self.false_components, self.pictures),
            "pd_by_area": sizes,
        }


def _by_size(areas: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.histogram(areas, bins=[*(low for low, _ in SIZE_BINS), np.inf])[0]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
