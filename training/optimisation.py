"""Learning-rate schedule, parameter groups and averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.config import OptimiserConfig


def learning_rate(progress: float, config: OptimiserConfig) -> float:
    """Learning rate: linear from 0 during the warm-up, then half a cosine from ``lr`` to ``lr_end``.

    Args:
        progress: Fraction of the run that is done, 0 to 1.
        config: Optimiser section of the recipe.
    """
    if progress < config.warm_up:
        return config.lr * progress / config.warm_up
    angle = math.pi * (min(progress, 1.0) - config.warm_up) / (1 - config.warm_up)
    return config.lr_end + (config.lr - config.lr_end) * (1 + math.cos(angle)) / 2


def build_optimiser(network: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Build the recipe's optimiser. Weight decay applies to convolution kernels, not to biases and normalisation."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.name == "adagrad":
        return torch.optim.Adagrad(groups, lr=config.lr)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


class AveragedWeights:
    """Exponential moving average (EMA) of all floating-point tensors of a network, including running statistics.

    The decay at step t is min(decay, (1 + t) / (10 + t)), so that the random initial weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        self._floats = [pair for pair in pairs if pair[1].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[1].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the averages after optimiser step ``step`` (counted from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, values = _columns(self._floats)
        torch._foreach_lerp_(averages, values, 1 - decay)
        if self._counts:
            torch._foreach_copy_(*_columns(self._counts))


def _columns(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [one for one, _ in pairs], [other for _, other in pairs]
