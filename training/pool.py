"""Training pictures held on the device, end to end in one line of memory, with what drawing crops from them needs."""

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
"""Labels of pixels; 0 is background."""
MAX_SPOTS = 8
"""So many of a picture's changes may be sought out."""
NEAR = 11
"""Side of the square around a target in which a change is the target's, px."""


class Pool:
    """All training pictures of a run. Any set of windows of any of them is read by one indexing operation.

    Args:
        sources: the pictures of each data set, none of them empty.
        device: where the pixels are to lie; what crops are chosen by stays with the CPU.

    Attributes:
        names: of the P pictures, set after set.
        first, count: (S,), int64, of each set: its first picture, and how many it has.
        height, width: (P,), int64, px.
        top: (P,), float32, largest count of the bit depth.
        boxes: (B, 4), int64, x, y, width and height of all 8-connected targets, px, picture after picture.
        first_box, boxes_of: (P,), int64, of each picture: its first target, and how many it has.
        changes: whether of any picture it is known what has changed.
        spots: (C, 4), int64, places of the greatest changes that are no target, as boxes of one px, likewise.
        first_spot, spots_of: (P,), int64, of each picture, likewise.
        device: where the pixels lie.
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
        # torch has next to no arithmetic of 16 bit without a sign, so all counts lie around 0 of one with it.
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
        """Squares of pictures, filled by reflection, the border's pixels not repeated, where they leave the frame.

        Args:
            pictures: (N,), which.
            left: (N,), their first columns.
            top: (N,), their first rows.
            side: px, of all squares.

        Returns:
            (N, 3, side, side), float32: counts over the top of the bit depth; 1 on targets; 1 where nobody can tell.
            (N, 4, side, side) if ``changes``: the change pictures as well, 0 where nothing is known.
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
        """Mean and standard deviation (N,) of whole frames under response curves, over the top of the bit depth.

        Args:
            pictures: (N,), which.
            exponents: (N,), of each: what its counts over the top are raised to.
        """
        lengths = self.to_device(self._levels_of[pictures])[:, None]
        line = torch.arange(int(self._levels_of[pictures].max()), device=self.device)
        places = self.to_device(self._first_level[pictures])[:, None] + torch.minimum(line, lengths - 1)
        share = self._share[places] * (line < lengths)
        curve = self._levels[places] ** self.to_device(exponents.astype(np.float32))[:, None]
        mean = (share * curve).sum(1)
        return mean, (share * (curve - mean[:, None]).square()).sum(1).sqrt()

    def to_device(self, values: NDArray[np.generic]) -> Tensor:
        """A small array as a tensor beside the pixels."""
        return torch.from_numpy(values).to(self.device, non_blocking=True)


def _labels(sample: Sample) -> NDArray[np.uint8]:
    target = sample.mask > 0
    return np.where(target, np.uint8(TARGET), np.where(sample.ignored > 0, np.uint8(UNKNOWN), np.uint8(0)))


def _histogram(picture: Picture) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The counts that occur, and how often each does."""
    pixels = np.bincount(picture.ravel())
    levels = np.flatnonzero(pixels)
    return levels, pixels[levels]


def _spots(sample: Sample) -> NDArray[np.int64]:
    """(n, 4), the greatest changes of a picture that are no target, x, y, 1, 1; see :class:`Pool`."""
    if sample.change is None:
        return np.empty((0, 4), np.int64)
    target = cv2.dilate(sample.mask | sample.ignored, np.ones((NEAR, NEAR), np.uint8)) > 0
    peaks = find_peaks(np.where(target, 0, sample.change).astype(np.float32))
    greatest = np.argsort(-peaks.height, kind="stable")[:MAX_SPOTS]
    x, y = peaks.x[greatest], peaks.y[greatest]
    return np.stack([x, y, np.ones_like(x), np.ones_like(x)], 1).astype(np.int64)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of several stretches begins that lie end to end."""
    return np.cumsum(lengths) - lengths


def _concatenated(
    parts: Iterable[NDArray[np.generic]], lengths: NDArray[np.int64], dtype: type[np.generic], device: torch.device
) -> Tensor:
    """Arrays end to end, (sum of lengths,); one is in memory at a time, for all of a data set take gigabytes."""
    line = np.empty(int(lengths.sum()), dtype)
    for part, first, length in zip(parts, _offsets(lengths), lengths, strict=True):
        line[first : first + length] = part.ravel()
    return torch.from_numpy(line).to(device)


def _reflected(places: Tensor, sizes: Tensor) -> Tensor:
    """Indices (N, L) into lines of ``sizes`` (N,) that are mirrored at their ends, their last pixels not repeated."""
    period = (2 * (sizes - 1)).clamp(min=1)[:, None]
    places = places % period
    return torch.minimum(places, period - places)
