"""Run pictures through a network in fixed-size batches, on the CPU or pipelined on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.messages import Intensity

Forward = Callable[[Tensor, Tensor], Tensor]
"""Function from the planes of a batch (B, P, H, W), and mean and gain of its pictures (B, 2), to maps (B, H, W)."""
PicturePlanes = Sequence[Sequence[NDArray[Any]]]
"""Planes (H, W) of each picture; all have the dtype of the first plane, or one that can be cast to it without loss."""


def here(
    forward: Forward, pictures: PicturePlanes, intensities: Sequence[Intensity], batch: int
) -> NDArray[np.float32]:
    """Compute the maps (N, H, W) of pictures on the CPU.

    Args:
        forward: Network; its result may be overwritten by the next call.
        pictures: N pictures of the same size, dtype and number of planes.
        intensities: Intensity statistics of the frame of each picture.
        batch: Batch size B; smaller batches are padded with copies.
    """
    maps = np.empty((len(pictures), *pictures[0][0].shape), np.float32)
    for part in _parts(len(pictures), batch):
        planes, facts = (
            _pad_batch(tensor, batch) for tensor in _staged(pictures[part], intensities[part], pinned=False)
        )
        maps[part] = forward(planes, facts)[: part.stop - part.start].numpy()
    return maps


def pipelined_on_gpu(
    forward: Forward,
    pictures: PicturePlanes,
    intensities: Sequence[Intensity],
    batch: int,
    ways: tuple[torch.cuda.Stream, torch.cuda.Stream],
) -> NDArray[np.float32]:
    """Same as ``here``, but on a GPU: computation overlaps with the upload of the next batch and download of the last.

    All host memory is page-locked. It returns to the allocator when the copies are done; nothing is kept here.

    Args:
        forward: Network on the device; runs on the current stream.
        pictures: See ``here``.
        intensities: See ``here``.
        batch: See ``here``.
        ways: Streams for upload and download, from ``streams``.
    """
    there, back = ways
    compute = torch.cuda.current_stream(there.device)
    maps = torch.empty((len(pictures), *pictures[0][0].shape), pin_memory=True)
    for part in _parts(len(pictures), batch):
        staged = _staged(pictures[part], intensities[part], pinned=True)
        with torch.cuda.stream(there):
            planes, facts = (_pad_batch(tensor.to(there.device, non_blocking=True), batch) for tensor in staged)
        compute.wait_stream(there)
        planes.record_stream(compute)
        facts.record_stream(compute)
        found = forward(planes, facts)
        back.wait_stream(compute)
        with torch.cuda.stream(back):
            maps[part].copy_(found[: part.stop - part.start], non_blocking=True)
        found.record_stream(back)
    back.synchronize()
    return np.asarray(maps.numpy())


def streams(device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    """Create two CUDA streams, for uploads and for downloads, in addition to the one used for computation."""
    return torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _parts(length: int, batch: int) -> Iterator[slice]:
    for start in range(0, length, batch):
        yield slice(start, min(start + batch, length))


def _staged(pictures: PicturePlanes, intensities: Sequence[Intensity], *, pinned: bool) -> tuple[Tensor, Tensor]:
    """Copy the planes, unconverted, to an array (n, P, H, W), and mean and gain to (n, 2) float32, in host memory."""
    first = pictures[0]
    dtype = torch.from_numpy(np.empty(0, first[0].dtype)).dtype
    staged = torch.empty((len(pictures), len(first), *first[0].shape), dtype=dtype, pin_memory=pinned)
    for places, planes in zip(staged.numpy(), pictures, strict=True):
        for place, plane in zip(places, planes, strict=True):
            place[...] = plane
    facts = torch.tensor([(i.mean, i.gain) for i in intensities], dtype=torch.float32)
    return staged, facts.pin_memory() if pinned else facts


def _pad_batch(part: Tensor, batch: int) -> Tensor:
    """Pad (n, ...) to (batch, ...) with copies of the first element."""
    if len(part) == batch:
        return part
    whole = part.new_empty((batch, *part.shape[1:]))
    whole[: len(part)] = part
    whole[len(part) :] = part[:1]
    return whole
