"""One process, or several under torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

# Its functions take the group of the time of their import as a default and so hold it for good: an optimiser imports
# them, and a group that is there by then outlives its end, with gloo's threads, which the interpreter's end may abort.
import torch.distributed.nn
from torch import distributed, nn

from training.device import open_device


class World(NamedTuple):
    """This process among those of the run.

    Attributes:
        rank: 0 for the one that validates, writes and reports.
        size: number of processes.
        device: of this process.
    """

    rank: int
    size: int
    device: torch.device

    def average_gradients(self, network: nn.Module) -> None:
        """Put the mean over the processes in the place of each gradient; parameters without one are left alone.

        One sum over all gradients in a row. torch's DistributedDataParallel hides that sum behind the backward pass,
        which is not worth having for networks this small.
        """
        if self.size == 1:
            return
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        means = torch.split(together / self.size, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def agree(self, seconds: float) -> float:
        """The time of rank 0, so that all processes are at the same point of the schedule."""
        if self.size == 1:
            return seconds
        box = torch.tensor([seconds], dtype=torch.float64, device=self.device)
        distributed.broadcast(box, src=0)
        return box.item()


@contextmanager
def join(device: str) -> Iterator[World]:
    """Join the other processes of torchrun, if that is what started this one, until the block ends.

    Args:
        device: ``auto``, or a torch device.

    Raises:
        ConfigError: the device does not exist here.
    """
    chosen = open_device(device, "run.device")
    if "WORLD_SIZE" not in os.environ:
        yield World(0, 1, chosen)
        return
    here = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if chosen.type == "cuda" else chosen
    if here.type == "cuda":
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if here.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), here)
    finally:
        distributed.destroy_process_group()
