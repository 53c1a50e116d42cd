"""Contact sheets of the pictures with the best and the worst IoU of a set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from nets.normalisation import Picture
from pipeline.errors import ConfigError
from training.metrics.strict import Mask
from training.side_by_side import Image, sheet, side_by_side

MOST = 10


class Gallery:
    """Keeps the ten pictures with the highest and the ten with the lowest IoU among those that contain targets.

    Attributes:
        best: Tuples (IoU, name, side-by-side picture) in order of decreasing IoU.
        worst: The same in order of increasing IoU.
    """

    def __init__(self) -> None:
        self.best: list[tuple[float, str, Image]] = []
        self.worst: list[tuple[float, str, Image]] = []

    def add(self, name: str, picture: Picture, truth: Mask, predicted: Mask) -> None:
        """Add one picture with its truth and prediction; all are (H, W)."""
        if not truth.any():
            return
        iou = float(np.count_nonzero(truth & predicted) / np.count_nonzero(truth | predicted))
        shown = (iou, name, side_by_side(picture, truth, predicted, f"{name}  IoU {iou:.3f}"))
        self.best = sorted([*self.best, shown], key=lambda one: -one[0])[:MOST]
        self.worst = sorted([*self.worst, shown], key=lambda one: one[0])[:MOST]

    def write(self, folder: Path) -> None:
        """Write ``best.png`` and ``worst.png`` to an existing folder.

        Raises:
            ConfigError: A file cannot be written, or no picture contains a target.
        """
        if not self.best:
            raise ConfigError(f"{folder}: no sheets, because no picture contains a target")
        for name, shown in (("best", self.best), ("worst", self.worst)):
            file = folder / f"{name}.png"
            _, data = cv2.imencode(".png", sheet([row for _, _, row in shown]))
            try:
                file.write_bytes(data.tobytes())
            except OSError as error:
                raise ConfigError(f"{file}: {error.strerror}") from None
