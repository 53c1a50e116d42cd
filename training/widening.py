"""Conversion of weights of a network without the change channel for a network that has it."""

from __future__ import annotations

import msgspec
from torch import Tensor
from torch.nn import functional as F

import nets


def with_change_channel(manifest: nets.Manifest) -> nets.Manifest:
    """Return the manifest with change as the last input channel; unchanged if it has that channel already."""
    seen = manifest.input
    if seen.normalisation.change:
        return manifest
    normalisation = msgspec.structs.replace(seen.normalisation, change=True)
    return msgspec.structs.replace(
        manifest,
        options=manifest.options | {"in_channels": normalisation.channels},
        input=msgspec.structs.replace(seen, channels=normalisation.channels, normalisation=normalisation),
    )


def pad_input_channels(old: Tensor, fresh: Tensor) -> Tensor:
    """Pad the input channels of convolution weights with zeros to match another network's.

    Args:
        old: Any tensor of a network; returned as it is unless it is a convolution with fewer input channels.
        fresh: The corresponding tensor of the other network.
    """
    missing = fresh.shape[1] - old.shape[1] if old.ndim == fresh.ndim == 4 else 0
    return F.pad(old, (0, 0, 0, 0, 0, missing)) if missing > 0 else old
