"""The published MSHNet and DNANet evaluation, quirks included; only to compare with published tables.

What sets it apart from the strict protocol:

- Everything happens at 256x256: the picture is resampled with a triangle filter along its rows, then along its
  columns, and rounded after each; the mask by picking pixels.
- A mask is not binarised. For the IoU a pixel counts as labelled from one half on but can be hit only where it is
  exactly 1; for Pd a target consists of the pixels that are exactly 1.
- Each target, in raster order, takes the first free prediction nearer than 3 px, not the nearest.
- A false alarm whose area equals that of some matched prediction of the picture is not counted in Fa.
- nIoU counts a picture that is empty in truth and prediction as 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nets.normalisation import Picture
from training.metrics.strict import MATCH_RADIUS, components

EDGE = 256
Label = NDArray[np.float32]


def shrink(picture: Picture) -> Picture:
    """The picture at 256x256, bilinear with a filter as wide as the reduction, as published code has it from Pillow.

    Args:
        picture: (H, W), uint8 or uint16.
    """
    return np.asarray(Image.fromarray(picture).resize((EDGE, EDGE), Image.Resampling.BILINEAR))


def shrink_label(grey: Picture) -> Label:
    """The mask at 256x256, in 0..1: each new pixel takes the old one under its centre.

    Args:
        grey: (H, W), uint8 or uint16, not binarised.
    """
    rows, columns = (((np.arange(EDGE) + 0.5) * size / EDGE).astype(int) for size in grey.shape)
    return (grey[np.ix_(rows, columns)] / np.float32(np.iinfo(grey.dtype).max)).astype(np.float32)


class LegacyScore:
    """Pooled scores of a set at one threshold; the figures of ``StrictScore`` but Pd by area."""

    def __init__(self) -> None:
        self.pictures = self.intersection = self.union = 0
        self.ious: list[float] = []
        self.targets = self.found = self.false_pixels = self.false_components = 0

    def update(self, predicted: NDArray[np.bool_], true: Label) -> None:
        """Add one picture: prediction (256, 256), boolean, and label (256, 256) in 0..1."""
        self.pictures += 1
        solid = true == 1
        intersection = int((predicted & solid).sum())
        union = int(predicted.sum()) + int((true >= 0.5).sum()) - intersection
        self.intersection += intersection
        self.union += union
        self._update_niou(predicted, solid)

        areas, centroids = components(predicted)
        _, true_centroids = components(solid)
        free = list(range(len(areas)))
        matched: list[int] = []
        for centroid in true_centroids:
            near = (m for m in free if np.linalg.norm(centroids[m] - centroid) < MATCH_RADIUS)
            first = next(near, None)
            if first is not None:
                free.remove(first)
                matched.append(first)
        counted = areas[~np.isin(areas, areas[matched])]
        self.targets += len(true_centroids)
        self.found += len(matched)
        self.false_components += len(counted)
        self.false_pixels += int(counted.sum())

    def _update_niou(self, predicted: NDArray[np.bool_], solid: NDArray[np.bool_]) -> None:
        union = int((predicted | solid).sum())
        self.ious.append(int((predicted & solid).sum()) / union if union else 0.0)

    def summary(self) -> dict[str, Any]:
        """All figures as plain values; ``fa`` is a share of pixels (multiply by 1e6 for the usual unit)."""
        return {
            "pictures": self.pictures,
            "targets": self.targets,
            "iou": self.intersection / self.union if self.union else None,
            "niou": sum(self.ious) / self.pictures if self.pictures else None,
            "pd": self.found / self.targets if self.targets else None,
            "fa": self.false_pixels / (EDGE * EDGE * self.pictures) if self.pictures else None,
            "false_alarms_per_picture": self.false_components / self.pictures if self.pictures else None,
        }
