"""Training pictures on the device, concatenated in one buffer, with the tables needed to draw crops from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.normalisation import Picture
from pipeline.moving.peaks import find_peaks
from training.data import Sample

TARGET, UNKNOWN = 1, 2
"""Pixel labels: target, and ignored because the truth is unknown; 0 is background."""
MAX_SPOTS = 8
"""Maximum number of changes per picture that crops may be placed on."""
NEAR = 11
"""Side of the square around a target within which a change is attributed to the target, px."""


class Pool:
    """All training pictures of a run. Any set of windows from any pictures is read by one indexing operation.

    Args:
        sources: The pictures of each source, none of them empty.
        device: Device that holds the pixels; the tables that crops are chosen by stay on the CPU.

    Attributes:
        names: Names of the P pictures, source by source.
        first, count: (S,), int64, index of the first picture and number of pictures of each source.
        height, width: (P,), int64, px.
        top: (P,), float32, maximum count of the bit depth.
        boxes: (B, 4), int64, x, y, width and height of all 8-connected targets, px, picture by picture.
        first_box, box_count: (P,), int64, index of the first target and number of targets of each picture.
        changes: Whether any picture has a change picture.
        spots: (C, 4), int64, positions of the largest changes that are not targets, as boxes of 1x1 px, likewise.
        first_spot, spot_count: (P,), int64, index of the first such change and their number for each picture.
        device: Device that holds the pixels.
    """

    def __init__(self, sources: Sequence[Sequence[Sample]], device: torch.device) -> None:
        samples = list(chain.from_iterable(sources))
        self.device = device
        self.names = [sample.name for sample in samples]
        self.count = np.array([len(source) for source in sources])
        self.first = _offsets(self.count)
        self.height, self.width = (np.array([sample.picture.shape[axis] for sample in samples]) for axis in (0, 1))
        self.top = np.array([np.iinfo(sample.picture.dtype).max for sample in samples], np.float32)
        found = [cv2.connectedComponentsWithStats(sample.mask, connectivity=8)[2][1:, :4] for sample in samples]
        self.boxes = np.concatenate(found).astype(np.int64)
        self.box_count = np.array([len(boxes) for boxes in found])
        self.first_box = _offsets(self.box_count)
        self.changes = any(sample.change is not None for sample in samples)
        spots = [_spots(sample) for sample in samples]
        self.spots = np.concatenate(spots)
        self.spot_count = np.array([len(places) for places in spots])
        self.first_spot = _offsets(self.spot_count)
        pixels = self.height * self.width
        self._start = _offsets(pixels)
        # torch has almost no uint16 arithmetic, so counts are stored as int16, shifted by 2**15.
        counts = (sample.picture.astype(np.int32) - 2**15 for sample in samples)
        self._counts = _concatenated(counts, pixels, np.int16, device)
        self._labels = _concatenated((_labels(sample) for sample in samples), pixels, np.uint8, device)
        seen = samples if self.changes else []
        changes = (np.zeros_like(s.mask) if s.change is None else s.change for s in seen)
        self._change = _concatenated(changes, pixels[: len(seen)], np.uint8, device)
        spectra = [_histogram(sample.picture) for sample in samples]
        self._levels_of = np.array([len(levels) for levels, _ in spectra])
        self._first_level = _offsets(self._levels_of)
        levels = (levels / top for (levels, _), top in zip(spectra, self.top, strict=True))
        self._levels = _concatenated(levels, self._levels_of, np.float32, device)
        share = (pixels / pixels.sum() for _, pixels in spectra)
        self._share = _concatenated(share, self._levels_of, np.float32, device)

    def windows(
        self, pictures: NDArray[np.int64], left: NDArray[np.int64], top: NDArray[np.int64], side: int
    ) -> Tensor:
        """Read square windows; outside the frame they are filled by reflection without repeating the border pixels.

        Args:
            pictures: (N,), indices of the pictures.
            left: (N,), first columns of the windows.
            top: (N,), first rows of the windows.
            side: Side of all windows, px.

        Returns:
            (N, 3, side, side), float32: counts divided by the maximum of the bit depth; 1 on targets; 1 on ignored
            pixels. (N, 4, side, side) if ``changes``: additionally the change picture, 0 where changes are unknown.
        """
        rows, columns = (
            _reflected(self.to_device(start)[:, None] + torch.arange(side, device=self.device), self.to_device(size))
            for start, size in ((top, self.height[pictures]), (left, self.width[pictures]))
        )
        rows = rows * self.to_device(self.width[pictures])[:, None] + self.to_device(self._start[pictures])[:, None]
        places = rows[:, :, None] + columns[:, None, :]
        counts, labels = self._counts[places].float() + 2**15, self._labels[places]
        level = counts / self.to_device(self.top[pictures]).view(-1, 1, 1)
        planes = [level, (labels == TARGET).float(), (labels == UNKNOWN).float()]
        if self.changes:
            planes.append(self._change[places].float())
        return torch.stack(planes, dim=1)

    def statistics(self, pictures: NDArray[np.int64], exponents: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (N,) of whole frames after a gamma curve, with counts scaled to 0..1.

        Args:
            pictures: (N,), indices of the pictures.
            exponents: (N,), exponent that the scaled counts of each picture are raised to.
        """
        lengths = self.to_device(self._levels_of[pictures])[:, None]
        line = torch.arange(int(self._levels_of[pictures].max()), device=self.device)
        places = self.to_device(self._first_level[pictures])[:, None] + torch.minimum(line, lengths - 1)
        share = self._share[places] * (line < lengths)
        curve = self._levels[places] ** self.to_device(exponents.astype(np.float32))[:, None]
        mean = (share * curve).sum(1)
        return mean, (share * (curve - mean[:, None]).square()).sum(1).sqrt()

    def to_device(self, values: NDArray[np.generic]) -> Tensor:
        """Copy a small array to the device of the pixels."""
        return torch.from_numpy(values).to(self.device, non_blocking=True)


def _labels(sample: Sample) -> NDArray[np.uint8]:
    target = sample.mask > 0
    return np.where(target, np.uint8(TARGET), np.where(sample.ignored > 0, np.uint8(UNKNOWN), np.uint8(0)))


def _histogram(picture: Picture) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct counts of a picture and the number of pixels of each."""
    pixels = np.bincount(picture.ravel())
    levels = np.flatnonzero(pixels)
    return levels, pixels[levels]


def _spots(sample: Sample) -> NDArray[np.int64]:
    """Return the largest changes of a picture that are not targets as boxes (n, 4): x, y, 1, 1."""
    if sample.change is None:
        return np.empty((0, 4), np.int64)
    target = cv2.dilate(sample.mask | sample.ignored, np.ones((NEAR, NEAR), np.uint8)) > 0
    peaks = find_peaks(np.where(target, 0, sample.change).astype(np.float32))
    greatest = np.argsort(-peaks.height, kind="stable")[:MAX_SPOTS]
    x, y = peaks.x[greatest], peaks.y[greatest]
    return np.stack([x, y, np.ones_like(x), np.ones_like(x)], 1).astype(np.int64)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Start offsets of concatenated stretches of these lengths."""
    return np.cumsum(lengths) - lengths


def _concatenated(
    parts: Iterable[NDArray[np.generic]], lengths: NDArray[np.int64], dtype: type[np.generic], device: torch.device
) -> Tensor:
    """Concatenate flattened arrays to (sum of lengths,), one at a time, since a whole data set takes gigabytes."""
    line = np.empty(int(lengths.sum()), dtype)
    for part, first, length in zip(parts, _offsets(lengths), lengths, strict=True):
        line[first : first + length] = part.ravel()
    return torch.from_numpy(line).to(device)


def _reflected(places: Tensor, sizes: Tensor) -> Tensor:
    """Reflect indices (N, L) into lines of ``sizes`` (N,) pixels, without repeating the border pixels."""
    period = (2 * (sizes - 1)).clamp(min=1)[:, None]
    places = places % period
    return torch.minimum(places, period - places)
