"""Simulated targets: spots of light of any size, sharpness and strength in crops that may hold few or none.

Pictures with targets show what was filmed. A network that learns from them alone can be better on every held-out one
and yet pass over a plain spot on an even sky, of a size or contrast that none of them had.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from training.config import DataConfig
from training.paste import ATTEMPTS, SIDE, CutOuts, paste
from training.placement import Placement
from training.pool import Pool

EDGE = 25
"""Side of the square that a simulated target and its surroundings take, px."""
SIGMA = (0.5, 2.8)
SHARPNESS = (1.0, 4.0)
CONTRAST = (5.0, 50.0)


def simulate_targets(
    pictures: Tensor, masks: Tensor, pool: Pool, placement: Placement, config: DataConfig, rng: Generator
) -> tuple[Tensor, Tensor]:
    """Give crops, with the probability of their set, a simulated target, where they have a free place.

    Its contrast is log-uniform in ``CONTRAST`` standard deviations of what is around it, noise and clutter, and of a
    count where that is even; so this comes after all disturbances but the rounding to counts.

    Args:
        pictures: (N, side, side), float32 in 0..1.
        masks: (N, side, side), bool.
        pool: what the crops were cut from.
        placement: their sets and pictures.
        config: the probabilities.
        rng: every choice comes from it.

    Returns:
        pictures, in counts over the top of the bit depth, and masks.
    """
    size = len(pictures)
    wanted = rng.random(size) < [config.sources[k].simulated for k in placement.source]
    sigma = _log_uniform(rng, SIGMA, (2, size))
    centre, sharpness = rng.uniform(-0.5, 0.5, (2, size)), rng.uniform(*SHARPNESS, size)
    contrast, places = _log_uniform(rng, CONTRAST, (size,)), rng.random((2, size, ATTEMPTS))
    if not wanted.any():
        return pictures, masks
    chosen = (centre, sigma, sharpness, contrast, *places)
    centres, sigmas, powers, gain, tops, lefts = (pool.to_device(part.astype(np.float32)) for part in chosen)
    top = pool.to_device(pool.top[placement.picture]).view(-1, 1, 1)
    cut = spots(centres, sigmas, powers)
    pictures, masks = paste(pictures, masks, cut, pool.to_device(wanted), gain, tops, lefts, 1 / top)
    return (pictures * top).round() / top, masks


def spots(centre: Tensor, sigma: Tensor, sharpness: Tensor) -> CutOuts:
    """Spots from Gaussian to flat-topped: exp(-(x^2 / 2 sx^2)^p - (y^2 / 2 sy^2)^p), their largest pixel 1.

    The mask is where the contrast is at least half of the largest, as in rendered scenes.

    Args:
        centre: (2, N), y and x from the middle pixel, px.
        sigma: (2, N), sy and sx, px.
        sharpness: (N,), p; 1 is a Gaussian.
    """
    line = torch.arange(SIDE, device=centre.device) - EDGE // 2
    down, along = (
        torch.exp(-(((line - middle[:, None]) / (math.sqrt(2) * width[:, None])).square() ** sharpness[:, None]))
        for middle, width in zip(centre, sigma, strict=True)
    )
    shape = down[:, :, None] * along[:, None, :]
    shape = shape / shape.amax((1, 2), keepdim=True)
    inside = line < EDGE - EDGE // 2
    shape = shape * inside[:, None] * inside
    edge = torch.full((len(shape),), EDGE, device=centre.device)
    return CutOuts(shape, shape >= 0.5, edge, edge)


def _log_uniform(rng: Generator, ends: tuple[float, float], shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.exp(rng.uniform(math.log(ends[0]), math.log(ends[1]), shape))
