"""Cost of a network, computed from tensor shapes alone."""

import torch
from torch.utils.flop_counter import FlopCounterMode

import nets

aten = torch.ops.aten


def count(name, size=256, **options):
    """Count the parameters and multiply-adds for one square picture.

    Returns:
        (parameters, multiply-adds of convolutions and matrix products, multiply-adds as counted in the literature).
        The papers' tables come from the thop package, which also counts 4 per normalised value, 11 per bilinearly
        upsampled value and 1 per value that goes into a picture's mean.
    """
    with torch.device("meta"):
        network = nets.build(name, **options).eval()
        picture = torch.empty(1, options.get("in_channels", 1), size, size)
    return (
        sum(parameter.numel() for parameter in network.parameters()),
        _operations(network, picture, {}) // 2,
        _operations(network, picture, THOP) // 2,
    )


def _operations(network, picture, more):
    with FlopCounterMode(display=False, custom_mapping=more) as counter:
        network(picture)
    return counter.get_total_flops()


def _normalisation(shape, *_, **__):
    return 2 * 4 * shape.numel()


def _upsampling(*_, out_shape, **__):
    return 2 * 11 * out_shape.numel()


def _mean(shape, axes, *_, **__):
    return 2 * shape.numel() if len(axes) == 2 else 0


THOP = {
    aten._native_batch_norm_legit_no_training: _normalisation,
    aten.upsample_bilinear2d: _upsampling,
    aten.mean: _mean,
}
