"""Simulated targets: bright spots of random size, sharpness and contrast, added to crops.

Data sets contain recorded targets only. A network trained on them alone can improve on every held-out
picture and yet miss a plain spot on a uniform sky, if no recorded target had its size or contrast.
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
"""Side of the square of a simulated target and its surroundings, px."""
SIGMA = (0.5, 2.8)  # standard deviation of a spot, px
SHARPNESS = (1.0, 4.0)  # exponent of a spot's profile; 1 is a Gaussian
CONTRAST = (5.0, 50.0)  # in standard deviations of the surroundings


def simulate_targets(
    pictures: Tensor, masks: Tensor, pool: Pool, placement: Placement, config: DataConfig, rng: Generator
) -> tuple[Tensor, Tensor]:
    """Add a simulated target to crops with a free place, with the probability given by their source.

    The contrast is log-uniform in ``CONTRAST``, in standard deviations of the surroundings (noise and clutter), but of
    one count at least. Therefore this step follows all other augmentations; only the rounding to counts comes later.

    Args:
        pictures: (N, side, side), float32 in 0..1.
        masks: (N, side, side), bool.
        pool: The training pictures.
        placement: Source and picture of each crop.
        config: The probabilities.
        rng: Source of every random choice.

    Returns:
        The pictures, rounded to counts divided by the maximum of the bit depth, and the masks.
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
    """Spots from Gaussian to flat-topped: exp(-(x^2 / 2 sx^2)^p - (y^2 / 2 sy^2)^p), scaled to a largest pixel of 1.

    The mask is where the contrast is at least half of the maximum, as in rendered scenes.

    Args:
        centre: (2, N), y and x relative to the middle pixel, px.
        sigma: (2, N), sy and sx, px.
        sharpness: (N,), exponent p; 1 is a Gaussian.
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
