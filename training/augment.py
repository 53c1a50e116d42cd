"""Disturbances of crops in the order of a camera: display curve, optics, noise, coder; batched, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from kornia.enhance import jpeg_codec_differentiable
from kornia.filters import gaussian_blur2d
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from training.config import AugmentConfig
from training.pool import Held

BLUR_KERNEL = 9


def disturb(
    pictures: Tensor, held: Sequence[Held], config: AugmentConfig, rng: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Disturb every crop by itself.

    Args:
        pictures: (N, 1, crop, crop), float32 in 0..1, counts over the top of the bit depth.
        held: the N frames that they were cut from.
        config: probabilities and strengths.
        rng: every choice comes from it; the noise itself from a torch generator that it seeds.

    Returns:
        the crops, rounded to counts again; mean (N,) and standard deviation (N,) of the whole frames under the same
        curve, moved by ``offset`` and ``gain``, in the same unit.
    """
    size, device = len(pictures), pictures.device
    exponents = np.exp(rng.uniform(-config.gamma, config.gamma, size))
    facts = [_statistics(frame, float(exponent)) for frame, exponent in zip(held, exponents, strict=True)]
    mean, std = (torch.stack(values) for values in zip(*facts, strict=True))

    pictures = pictures.pow(_column(exponents, device))
    chosen = np.flatnonzero(rng.random(size) < config.blur)
    if chosen.size:
        sigma = torch.from_numpy(rng.uniform(*config.blur_sigma, (chosen.size, 1)).astype(np.float32)).to(device)
        pictures[chosen] = gaussian_blur2d(pictures[chosen], (BLUR_KERNEL, BLUR_KERNEL), sigma.expand(-1, 2))
    levels = np.where(rng.random(size) < config.noise, rng.uniform(0, config.noise_std, size), 0)
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
    noise = torch.randn(pictures.shape, generator=generator, device=device)
    tops = _column(np.array([frame.top for frame in held]), device)
    pictures = pictures + noise * _column(levels, device) * std.view(-1, 1, 1, 1)
    pictures = (pictures * tops).round().div(tops).clamp(0, 1)
    eight_bit = np.array([frame.top == np.iinfo(np.uint8).max for frame in held])
    chosen = np.flatnonzero((rng.random(size) < config.jpeg) & eight_bit)
    if chosen.size:
        quality = torch.from_numpy(rng.uniform(*config.jpeg_quality, chosen.size).astype(np.float32)).to(device)
        coded = jpeg_codec_differentiable(pictures[chosen].expand(-1, 3, -1, -1), quality)
        pictures[chosen] = (coded[:, 1:2] * tops[chosen]).round().div(tops[chosen]).clamp(0, 1)

    # The crop is told statistics that are a little off, as if the rest of the frame were another.
    shift = torch.from_numpy(rng.uniform(-config.offset, config.offset, size).astype(np.float32)).to(device)
    stretch = torch.from_numpy(np.exp(rng.uniform(-config.gain, config.gain, size)).astype(np.float32)).to(device)
    return pictures, mean + shift * std, std * stretch


def _statistics(frame: Held, exponent: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a whole frame under a response curve, over the top of its bit depth."""
    curve = frame.levels.pow(exponent)
    mean = (frame.share * curve).sum()
    return mean, (frame.share * (curve - mean).square()).sum().sqrt()


def _column(values: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device).view(-1, 1, 1, 1)
