"""What a network must do at least: operations and bytes of every convolution, counted on shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Layer(NamedTuple):
    """One convolution on one picture.

    Attributes:
        flops: floating-point operations, two for a multiplication with its addition.
        activations: numbers read and written.
        weights: numbers of the kernel, read once for a whole batch.
    """

    flops: int
    activations: int
    weights: int


def layers(build: Callable[[], nn.Module], channels: int, height: int, width: int) -> list[Layer]:
    """The convolutions of one pass, in order.

    Args:
        build: makes the network.
        channels: of the input.
        height: of the input.
        width: of the input.
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
    """Time of one pass where each convolution is held up by arithmetic or by memory alone, whichever is slower.

    The roofline model (Williams et al., Communications of the ACM 2009), layer by layer: between two layers
    activations go through memory, and all that is not a convolution is free. Caches larger than the activations make
    less than this possible.

    Args:
        work: of one picture.
        batch: pictures.
        flops_per_s: of the machine.
        bytes_per_s: of its memory, read and written.
        itemsize: bytes of a number.
    """
    return sum(
        max(
            layer.flops * batch / flops_per_s,
            (layer.activations * batch + layer.weights) * itemsize / bytes_per_s,
        )
        for layer in work
    )
