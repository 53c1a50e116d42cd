"""Photometric augmentation of crops in the order of a camera: gamma, blur, noise, JPEG; batched, on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from kornia.enhance import jpeg_codec_differentiable
from kornia.filters import gaussian_blur2d
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from training.config import AugmentConfig
from training.pool import Pool

BLUR_KERNEL = 9  # px


def augment_crops(
    pictures: Tensor, pool: Pool, chosen: NDArray[np.int64], config: AugmentConfig, rng: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Augment each crop independently.

    Args:
        pictures: (N, 1, side, side), float32 in 0..1, counts divided by the maximum of the bit depth.
        pool: The pictures that the crops were cut from.
        chosen: (N,) indices of those pictures in the pool.
        config: Probabilities and strengths of the augmentations.
        rng: Source of every random choice; it also seeds the torch generator that draws the noise.

    Returns:
        The crops, rounded to whole counts again, and the mean (N,) and standard deviation (N,) of the whole frames
        under the same gamma curve, perturbed by ``offset`` and ``gain``. All are in the unit of ``pictures``.
    """
    size, device = len(pictures), pictures.device
    exponents = np.exp(rng.uniform(-config.gamma, config.gamma, size))
    mean, std = pool.statistics(chosen, exponents)
    pictures = pictures.pow(_column(exponents, device))

    blurred = np.flatnonzero(rng.random(size) < config.blur)
    if blurred.size:
        sigma = torch.from_numpy(rng.uniform(*config.blur_sigma, (blurred.size, 1)).astype(np.float32)).to(device)
        pictures[blurred] = gaussian_blur2d(pictures[blurred], (BLUR_KERNEL, BLUR_KERNEL), sigma.expand(-1, 2))
    levels = np.where(rng.random(size) < config.noise, rng.uniform(0, config.noise_std, size), 0)
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
    noise = torch.randn(pictures.shape, generator=generator, device=device)
    tops = _column(pool.top[chosen], device)
    pictures = pictures + noise * _column(levels, device) * std.view(-1, 1, 1, 1)
    pictures = (pictures * tops).round().div(tops).clamp(0, 1)
    coded = np.flatnonzero((rng.random(size) < config.jpeg) & (pool.top[chosen] == np.iinfo(np.uint8).max))
    if coded.size:
        quality = torch.from_numpy(rng.uniform(*config.jpeg_quality, coded.size).astype(np.float32)).to(device)
        grey = jpeg_codec_differentiable(pictures[coded].expand(-1, 3, -1, -1), quality)[:, 1:2]
        pictures[coded] = (grey * tops[coded]).round().div(tops[coded]).clamp(0, 1)

    # Slightly wrong frame statistics stand in for the same crop in a different frame.
    shift = torch.from_numpy(rng.uniform(-config.offset, config.offset, size).astype(np.float32)).to(device)
    stretch = torch.from_numpy(np.exp(rng.uniform(-config.gain, config.gain, size)).astype(np.float32)).to(device)
    return pictures, mean + shift * std, std * stretch


def _column(values: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device).view(-1, 1, 1, 1)
