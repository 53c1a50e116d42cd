"""Minimum work of a network: operations and memory traffic of every convolution, computed from shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Layer(NamedTuple):
    """Work of one convolution on one picture.

    Attributes:
        flops: floating-point operations; a multiply-add counts as two.
        activations: number of values read and written.
        weights: number of kernel values, read once for a whole batch.
    """

    flops: int
    activations: int
    weights: int


def layers(build: Callable[[], nn.Module], channels: int, height: int, width: int) -> list[Layer]:
    """List the convolutions of one pass in order.

    Args:
        build: function that creates the network.
        channels: number of input channels.
        height: height of the input.
        width: width of the input.
    """
    found: list[Layer] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        weights = layer.weight.numel()
        places = output.numel() // layer.out_channels
        found.append(Layer(2 * weights * places, inputs[0].numel() + output.numel(), weights))

    with torch.device("meta"), torch.no_grad():
        network = build().eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(note)
        network(torch.empty(1, channels, height, width))
    return found


def least_seconds(work: Sequence[Layer], batch: int, flops_per_s: float, bytes_per_s: float, itemsize: int) -> float:
    """Compute the least time in s of one pass, in which each convolution is limited by arithmetic or by memory.

    This is the roofline model (Williams et al., Communications of the ACM 2009) applied layer by layer. It assumes that
    activations go through memory between layers and that everything but convolutions is free. With caches larger than
    the activations a pass can be faster.

    Args:
        work: convolutions of one picture.
        batch: number of pictures.
        flops_per_s: arithmetic rate of the machine.
        bytes_per_s: memory bandwidth of the machine, reads and writes.
        itemsize: bytes per value.
    """
    return sum(
        max(
            layer.flops * batch / flops_per_s,
            (layer.activations * batch + layer.weights) * itemsize / bytes_per_s,
        )
        for layer in work
    )
