"""Logits and probability maps of whole pictures at native resolution, with the statistics of live use."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nets.normalisation import FrameZScore, Picture, frame_statistics, normalise


@torch.no_grad()
def logits(network: nn.Module, picture: Picture, norm: FrameZScore, device: torch.device) -> Tensor:
    """One logits map, (H, W), float32, from a network in eval mode and one raw picture (H, W)."""
    mean, std = frame_statistics(picture)
    counts = torch.from_numpy(picture.astype("float32"))[None, None].to(device)
    facts = torch.tensor([[mean], [norm.gain(std)]], device=device)
    out: Tensor = network(normalise(counts, facts[0], facts[1], norm))
    return out[0, 0].float()


def probabilities(network: nn.Module, picture: Picture, norm: FrameZScore, device: torch.device) -> NDArray[np.float32]:
    """One probability map, (H, W), float32 in 0..1; arguments as for ``logits``."""
    return np.asarray(torch.sigmoid(logits(network, picture, norm, device)).cpu().numpy())
