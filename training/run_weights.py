"""Load the weights that a run has written, and blend them with other weights of the same network."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

import nets
from nets.manifest import Manifest, half_precision_tensors
from pipeline.errors import ConfigError
from training.config import TrainConfig
from training.trainer import AVERAGED, BEST
from training.widening import with_change_channel

FILES = {"ema": AVERAGED, "best": BEST}


def load(run: Path, recipe: TrainConfig, weights: str, device: torch.device) -> nn.Module:
    """Load the run's averaged weights, last or best, in eval mode.

    They are rounded to the stored half precision, so that exactly the published weights are scored.

    Raises:
        ConfigError: The weights are missing, unreadable, of another network, or out of the range of half precision.
    """
    path = run / FILES[weights]
    try:
        tensors = load_file(path)
        network = nets.build(recipe.network.name, **recipe.network.options)
        network.load_state_dict(tensors)
        network.load_state_dict(half_precision_tensors(network))
    except FileNotFoundError:
        raise ConfigError(f"{path}: the run has not written its weights yet") from None
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())[:200]}") from None
    network.eval().requires_grad_(False)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def blend(network: nn.Module, recipe: TrainConfig, weights: str, share: float) -> Manifest:
    """Interpolate linearly between a network and other weights of the same network, such as those it started from.

    An interpolation often keeps most of what a run has learnt and loses little of what it has forgotten (WiSE-FT:
    Wortsman et al., CVPR 2022).

    If the other weights have no change channel, the kernels of the run for that channel are kept as they are. Counting
    the missing ones as zero would weaken all that the run has learnt of change by ``share``.

    Args:
        network: Changed in place.
        recipe: Recipe of its run.
        weights: Name or path of the other weights.
        share: Share of the other weights, 0 to 1.

    Returns:
        The manifest of the other weights.

    Raises:
        ConfigError: The other weights cannot be read, or are of another network or input.
    """
    try:
        other, manifest = nets.load_trained(weights)
    except nets.WeightsError as error:
        raise ConfigError(f"--blend: {error}") from None
    kind = with_change_channel(manifest) if recipe.normalisation.change else manifest
    theirs = (kind.architecture, kind.options, kind.input.normalisation)
    if theirs != (recipe.network.name, recipe.network.options, recipe.normalisation):
        raise ConfigError(f"--blend: {weights} is another network than the run's, or has another input")
    for ours, other_tensor in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        if ours.is_floating_point():
            common = ours[:, : other_tensor.shape[1]] if ours.ndim == 4 else ours
            common.lerp_(other_tensor.to(ours), share)
    network.load_state_dict(half_precision_tensors(network))
    return manifest
