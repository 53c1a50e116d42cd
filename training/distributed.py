"""Data-parallel training with one process, or with several under torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

# Imported here, before a process group exists: its functions keep the group that exists at their import as a default
# argument. Optimisers import this module. If they did so later, the group would never be released, and gloo's threads
# would still run when the interpreter exits, which may abort it.
import torch.distributed.nn
from torch import distributed, nn

from training.device import open_device


class World(NamedTuple):
    """This process and its place among the processes of the run.

    Attributes:
        rank: Rank of this process; rank 0 validates, writes and reports.
        size: Number of processes.
        device: Device of this process.
    """

    rank: int
    size: int
    device: torch.device

    def average_gradients(self, network: nn.Module) -> None:
        """Replace each gradient by its mean over the processes; parameters without a gradient are skipped.

        All gradients are reduced in one all-reduce. DistributedDataParallel would overlap the reduction with the
        backward pass, which is not worth the effort for networks this small.
        """
        if self.size == 1:
            return
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        means = torch.split(together / self.size, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def broadcast(self, seconds: float) -> float:
        """Return the value of rank 0, so that all processes are at the same point of the schedule."""
        if self.size == 1:
            return seconds
        box = torch.tensor([seconds], dtype=torch.float64, device=self.device)
        distributed.broadcast(box, src=0)
        return box.item()


@contextmanager
def join(device: str) -> Iterator[World]:
    """Join the process group if this process was started by torchrun, and leave it at the end of the block.

    Args:
        device: ``auto``, or a torch device.

    Raises:
        ConfigError: The device does not exist on this machine.
    """
    alone = "WORLD_SIZE" not in os.environ
    if not alone and device != "cpu" and torch.cuda.is_available():
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    here = open_device(device, "run.device")
    if alone:
        yield World(0, 1, here)
        return
    if here.type == "cuda":
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if here.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), here)
    finally:
        distributed.destroy_process_group()
