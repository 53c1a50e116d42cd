"""Comparison of a backend with the reference backend, and the tolerances of each precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.capture.source import Picture
from pipeline.detect.backends.base import Backend, Maps
from pipeline.detect.config import Precision
from pipeline.preprocess.intensity import measure

MATCH_RADIUS_PX = 1.0  # largest distance between the centroids of matching components
MAX_IOU_LOSS = 0.003
"""Largest decrease of the pooled IoU accepted for an int8 artefact, in the strict evaluation protocol."""

Change = NDArray[np.uint8] | None
"""Change picture (H, W), see ``nets.normalisation.change_picture``; None if the changes are unknown."""

MIN_LOGIT = -10.0
"""Lower bound to which logits are clipped before they are compared.

Lower values are certain background, where rounding errors of large sums reach whole units.
"""
RENDERED_SIZE = (128, 160)
RENDERED_FRAMES = (20, 150, 280)


class Parity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Agreement of two backends on the same pictures, with masks taken at the threshold of the weights.

    Attributes:
        pictures: Number of pictures.
        max_logit: Largest absolute difference of a logit, with logits clipped below at ``MIN_LOGIT``.
        components: Share of the 8-connected components of both masks that match one of the other mask within 1 px.
        iou: Intersection over union of the masks, pooled over all pictures; 1 if both are empty.
    """

    pictures: int
    max_logit: float
    components: float
    iou: float

    def __str__(self) -> str:
        return f"max logit difference {self.max_logit:.2g}, components {self.components:.2f}, IoU {self.iou:.3f}"


class Tolerance(Struct, frozen=True):
    """Limits of a ``Parity``: largest ``max_logit``, smallest ``components`` and ``iou``."""

    max_logit: float
    components: float
    iou: float

    def holds(self, parity: Parity) -> bool:
        """Whether the figures are within the limits."""
        near = parity.max_logit <= self.max_logit  # false for NaN
        return near and parity.components >= self.components and parity.iou >= self.iou


# The logits of the reference range from about -100 to 10. In fp32 only the order of summation differs. bf16 keeps 8
# bits of every intermediate result, and int8 as many of the convolutions: single border pixels of a component cross
# the threshold, but the components remain.
TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(max_logit=0.002, components=1.0, iou=0.999),
    "fp16": Tolerance(max_logit=0.5, components=0.95, iou=0.95),
    "bf16": Tolerance(max_logit=5.0, components=0.9, iou=0.9),
    "int8": Tolerance(max_logit=30.0, components=0.8, iou=0.8),
}


def compare(
    reference: Backend, other: Backend, pictures: Sequence[Picture], changes: Sequence[Change] | None = None
) -> Parity:
    """Run both backends on the same pictures and compare their logits.

    Args:
        reference: Reference backend; its manifest provides normalisation and threshold.
        other: Backend to compare with it.
        pictures: Pictures (H, W) of any sizes.
        changes: Change picture of each picture; None if the changes are unknown.
    """
    norm, threshold = reference.manifest.input.normalisation, reference.manifest.threshold
    pairs = []
    for picture, change in zip(pictures, changes or [None] * len(pictures), strict=True):
        inputs = picture[None], [measure(picture, norm)], None if change is None else [change]
        pairs.append((reference.logits(*inputs)[0], other.logits(*inputs)[0]))
    return parity(pairs, math.log(threshold / (1 - threshold)))


def parity(pairs: Sequence[tuple[Maps, Maps]], threshold: float) -> Parity:
    """Compute the agreement of pairs of logit maps (H, W), of the reference and of another backend.

    Args:
        pairs: At least one pair of maps.
        threshold: Detection threshold, a logit.
    """
    largest = 0.0
    intersection = union = matched = components = 0
    for first, second in pairs:
        clipped = np.maximum(first, MIN_LOGIT), np.maximum(second, MIN_LOGIT)  # propagates NaN, as does the next line
        largest = float(np.maximum(largest, np.abs(clipped[0] - clipped[1]).max()))
        masks = first >= threshold, second >= threshold
        intersection += int((masks[0] & masks[1]).sum())
        union += int((masks[0] | masks[1]).sum())
        points, others = (_centroids(mask) for mask in masks)
        matched += _count_matched(points, others) + _count_matched(others, points)
        components += len(points) + len(others)
    return Parity(
        pictures=len(pairs),
        max_logit=largest,
        components=matched / components if components else 1.0,
        iou=intersection / union if union else 1.0,
    )


@cache
def rendered(size: tuple[int, int] | None = None) -> tuple[NDArray[np.uint16], ...]:
    """Render frames of a scene with targets, the same at every call.

    Args:
        size: (H, W); None for ``RENDERED_SIZE``.
    """
    height, width = size or RENDERED_SIZE
    scene = Scene(SceneSpec(name="sky", width=width, height=height, targets=6, seed=1, snr=20.0))
    return tuple(scene.frame(k) for k in RENDERED_FRAMES)


def _centroids(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the centroids (K, 2) of the 8-connected components."""
    return np.asarray(cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[3][1:], np.float64)


def _count_matched(points: NDArray[np.float64], others: NDArray[np.float64]) -> int:
    """Count the points (K, 2) that have one of the others (L, 2) within ``MATCH_RADIUS_PX``."""
    distance = np.linalg.norm(points[:, None] - others[None], axis=-1)
    return int((distance <= MATCH_RADIUS_PX).any(axis=1).sum())
