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


def run_on_cpu(
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
        planes, mean_gain = (
            _pad_batch(tensor, batch) for tensor in _staged(pictures[part], intensities[part], pinned=False)
        )
        maps[part] = forward(planes, mean_gain)[: part.stop - part.start].numpy()
    return maps


def pipelined_on_gpu(
    forward: Forward,
    pictures: PicturePlanes,
    intensities: Sequence[Intensity],
    batch: int,
    transfer_streams: tuple[torch.cuda.Stream, torch.cuda.Stream],
) -> NDArray[np.float32]:
    """Same as ``run_on_cpu``, but on a GPU: transfers of the neighbouring batches overlap with the computation.

    While one batch is computed, the next one is uploaded and the maps of the previous one are downloaded. All host
    memory is page-locked. It returns to the allocator when the copies are done; nothing is kept here.

    Args:
        forward: Network on the device; runs on the current stream.
        pictures: See ``run_on_cpu``.
        intensities: See ``run_on_cpu``.
        batch: See ``run_on_cpu``.
        transfer_streams: Streams for upload and download, from ``streams``.
    """
    upload, download = transfer_streams
    compute = torch.cuda.current_stream(upload.device)
    maps = torch.empty((len(pictures), *pictures[0][0].shape), pin_memory=True)
    for part in _parts(len(pictures), batch):
        staged = _staged(pictures[part], intensities[part], pinned=True)
        with torch.cuda.stream(upload):
            planes, mean_gain = (_pad_batch(tensor.to(upload.device, non_blocking=True), batch) for tensor in staged)
        compute.wait_stream(upload)
        planes.record_stream(compute)
        mean_gain.record_stream(compute)
        result = forward(planes, mean_gain)
        download.wait_stream(compute)
        with torch.cuda.stream(download):
            maps[part].copy_(result[: part.stop - part.start], non_blocking=True)
        result.record_stream(download)
    download.synchronize()
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
    for destinations, planes in zip(staged.numpy(), pictures, strict=True):
        for destination, plane in zip(destinations, planes, strict=True):
            destination[...] = plane
    mean_gain = torch.tensor([(i.mean, i.gain) for i in intensities], dtype=torch.float32)
    return staged, mean_gain.pin_memory() if pinned else mean_gain


def _pad_batch(part: Tensor, batch: int) -> Tensor:
    """Pad (n, ...) to (batch, ...) with copies of the first element."""
    if len(part) == batch:
        return part
    whole = part.new_empty((batch, *part.shape[1:]))
    whole[: len(part)] = part
    whole[len(part) :] = part[:1]
    return whole
