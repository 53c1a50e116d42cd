"""Registry of architectures by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from nets.edge_unet import EdgeUNet
from nets.gaussian_unet import GaussianUNet
from nets.mshnet import MSHNet
from nets.sgem_unet import SgemUNet
from nets.unet import UNet

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "mshnet": MSHNet,
    "edge_unet": EdgeUNet,
    "unet": UNet,
    "gaussian_unet": GaussianUNet,
    "sgem_unet": SgemUNet,
}

Options = dict[str, int | str | list[int]]
"""Keyword arguments of a network's constructor, as stored in recipes and manifests."""


def build(name: str, **options: Any) -> nn.Module:
    """Build a network with fresh random weights, in training mode.

    Args:
        name: one of ``ARCHITECTURES``.
        options: keyword arguments of its constructor.

    Raises:
        ValueError: the name or an option is unknown, or the weights do not fit into memory.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; known: {', '.join(ARCHITECTURES)}")
    try:
        return ARCHITECTURES[name](**options)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"architecture {name!r}: {error}") from None
