"""Probability maps of whole pictures at native resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nets.normalisation import FrameZScore, Picture, frame_statistics, normalise


@torch.no_grad()
def logits(network: nn.Module, picture: Picture, norm: FrameZScore, device: torch.device) -> Tensor:
    """One logits map, (H, W), float32, from a network in eval mode and one raw picture (H, W)."""
    mean, std = frame_statistics(picture)
    counts = torch.from_numpy(picture.astype("float32"))[None, None].to(device)
    facts = torch.tensor([[mean], [norm.gain(std)]], device=device)
    out: Tensor = network(normalise(counts, facts[0], facts[1], norm.clip))
    return out[0, 0].float()
