"""Weights of a network that was not shown what has changed, for one that is."""

from __future__ import annotations

import msgspec
from torch import Tensor
from torch.nn import functional as F

import nets


def with_change_channel(manifest: nets.Manifest) -> nets.Manifest:
    """A manifest as it would be if change were the last channel of its input; the same if it is."""
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
    """A convolution's weights with zeros for the channels that come after those that it knows, if that makes it fit.

    Args:
        old: any tensor of a network.
        fresh: the one in its place of the other network.
    """
    missing = fresh.shape[1] - old.shape[1] if old.ndim == fresh.ndim == 4 else 0
    return F.pad(old, (0, 0, 0, 0, 0, missing)) if missing > 0 else old
