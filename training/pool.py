"""Training pictures held on the device, with what drawing crops from them needs."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from training.data import Sample


class Held(Struct, frozen=True, eq=False):
    """One training picture.

    Attributes:
        name: file name without suffix.
        counts: (H, W), uint8 or uint16, on the device.
        mask: (H, W), bool, on the device.
        ignored: (H, W), bool, on the device; see ``Sample``.
        top: largest count of the bit depth.
        levels: (L,), float32, the counts that occur, over ``top``; on the device.
        share: (L,), float32, part of the pixels with each of them; on the device.
        boxes: (K, 4), x, y, width and height of the 8-connected targets, px.
    """

    name: str
    counts: Tensor
    mask: Tensor
    ignored: Tensor
    top: int
    levels: Tensor
    share: Tensor
    boxes: NDArray[np.int64]


def hold(sample: Sample, device: torch.device) -> Held:
    """Put a decoded picture on the device."""
    top = int(np.iinfo(sample.picture.dtype).max)
    pixels: NDArray[Any] = np.bincount(sample.picture.ravel(), minlength=top + 1)
    levels = np.flatnonzero(pixels)
    return Held(
        sample.name,
        torch.from_numpy(sample.picture).to(device),
        torch.from_numpy(sample.mask > 0).to(device),
        torch.from_numpy(sample.ignored > 0).to(device),
        top,
        torch.from_numpy((levels / top).astype(np.float32)).to(device),
        torch.from_numpy((pixels[levels] / sample.picture.size).astype(np.float32)).to(device),
        cv2.connectedComponentsWithStats(sample.mask, connectivity=8)[2][1:, :4].astype(np.int64),
    )
