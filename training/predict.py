"""Logits and probability maps of whole pictures at native resolution, normalised as in live use."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nets.normalisation import FrameZScore, Picture, frame_statistics, normalise


@torch.no_grad()
def logits(
    network: nn.Module,
    picture: Picture,
    norm: FrameZScore,
    device: torch.device,
    change: NDArray[np.uint8] | None = None,
) -> Tensor:
    """Return the logits (H, W), float32, of a network in eval mode for a raw picture (H, W) and its change picture."""
    mean, std = frame_statistics(picture)
    planes = np.stack([plane.astype(np.float32) for plane in (picture, change) if plane is not None])
    facts = torch.tensor([[mean], [norm.gain(std)]], device=device)
    out: Tensor = network(normalise(torch.from_numpy(planes)[None].to(device), facts[0], facts[1], norm))
    return out[0, 0].float()


def probabilities(
    network: nn.Module,
    picture: Picture,
    norm: FrameZScore,
    device: torch.device,
    change: NDArray[np.uint8] | None = None,
) -> NDArray[np.float32]:
    """Return the probability map (H, W), float32 in 0..1; arguments as for ``logits``."""
    return np.asarray(torch.sigmoid(logits(network, picture, norm, device, change)).cpu().numpy())
