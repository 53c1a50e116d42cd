"""Batches of pictures through a network: on the device that the pictures are on, or on a GPU and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.messages import Intensity

Forward = Callable[[Tensor, Tensor], Tensor]
"""Maps (B, H, W) of a batch: of its pictures' planes (B, P, H, W), and of mean and gain of each picture (B, 2)."""
PicturePlanes = Sequence[Sequence[NDArray[Any]]]
"""Planes of each of several pictures, each (H, W), of the type of the first or of one that fits into it."""


def here(
    forward: Forward, pictures: PicturePlanes, intensities: Sequence[Intensity], batch: int
) -> NDArray[np.float32]:
    """Maps (N, H, W) of pictures, computed on the CPU.

    Args:
        forward: of a batch; what it returns may be overwritten by its next call.
        pictures: N of one size and type, with as many planes each.
        intensities: of each picture's frame.
        batch: B; batches are filled up to it with copies.
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
    """The same on a GPU: one batch is computed while the next is on its way there and the last on its way back.

    All memory of the CPU is page-locked, and is the allocator's again once the copies are done: nothing is kept here.

    Args:
        forward: of a batch on the device, on its current stream.
        pictures: see ``here``.
        intensities: likewise.
        batch: likewise.
        ways: from ``streams``.
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
    """Streams of a GPU for the way there and the way back, beside that on which it computes."""
    return torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _parts(length: int, batch: int) -> Iterator[slice]:
    for start in range(0, length, batch):
        yield slice(start, min(start + batch, length))


def _staged(pictures: PicturePlanes, intensities: Sequence[Intensity], *, pinned: bool) -> tuple[Tensor, Tensor]:
    """Planes (n, P, H, W) as they are, and mean and gain (n, 2) float32, in memory of the CPU."""
    first = pictures[0]
    dtype = torch.from_numpy(np.empty(0, first[0].dtype)).dtype
    staged = torch.empty((len(pictures), len(first), *first[0].shape), dtype=dtype, pin_memory=pinned)
    for places, planes in zip(staged.numpy(), pictures, strict=True):
        for place, plane in zip(places, planes, strict=True):
            place[...] = plane
    facts = torch.tensor([(i.mean, i.gain) for i in intensities], dtype=torch.float32)
    return staged, facts.pin_memory() if pinned else facts


def _pad_batch(part: Tensor, batch: int) -> Tensor:
    """(n, ...) filled up to (batch, ...) with copies of the first."""
    if len(part) == batch:
        return part
    whole = part.new_empty((batch, *part.shape[1:]))
    whole[: len(part)] = part
    whole[len(part) :] = part[:1]
    return whole
