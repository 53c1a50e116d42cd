"""The published MSHNet and DNANet evaluation with its quirks, only for comparison with published tables.

Differences from the strict protocol:

- Everything is evaluated at 256x256. The picture is resampled with a triangle filter along its rows and then along its
  columns, with rounding after each pass; the mask is resampled by nearest neighbour.
- Masks are not binarised. For the IoU a pixel counts as labelled from 0.5 on, but it can be hit only if it is exactly
  1. For Pd a target consists of the pixels that are exactly 1.
- Each target, in raster order, is matched to the first free prediction closer than 3 px, not to the nearest one.
- A false alarm with the same area as some matched prediction of the picture is not counted in Fa.
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
    """Resample a picture to 256x256 with Pillow's bilinear filter (as wide as the reduction), as published code does.

    Args:
        picture: (H, W), uint8 or uint16.
    """
    return np.asarray(Image.fromarray(picture).resize((EDGE, EDGE), Image.Resampling.BILINEAR))


def shrink_label(grey: Picture) -> Label:
    """Resample a mask to 256x256, with values in 0..1: each new pixel takes the old pixel under its centre.

    Args:
        grey: (H, W), uint8 or uint16, not binarised.
    """
    rows, columns = (((np.arange(EDGE) + 0.5) * size / EDGE).astype(int) for size in grey.shape)
    return (grey[np.ix_(rows, columns)] / np.float32(np.iinfo(grey.dtype).max)).astype(np.float32)


class LegacyScore:
    """Pooled scores of a set at one threshold; the same figures as ``StrictScore`` except Pd by area."""

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
        """Return all figures as plain values; ``fa`` is a fraction of pixels (multiply by 1e6 for the usual unit)."""
        return {
            "pictures": self.pictures,
            "targets": self.targets,
            "iou": self.intersection / self.union if self.union else None,
            "niou": sum(self.ious) / self.pictures if self.pictures else None,
            "pd": self.found / self.targets if self.targets else None,
            "fa": self.false_pixels / (EDGE * EDGE * self.pictures) if self.pictures else None,
            "false_alarms_per_picture": self.false_components / self.pictures if self.pictures else None,
        }
