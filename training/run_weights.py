"""The weights that a run has written, alone or mixed with others of their kind."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

import nets
from nets.manifest import Manifest, stored
from pipeline.errors import ConfigError
from training.config import TrainConfig
from training.trainer import AVERAGED, BEST
from training.widening import pad_input_channels, with_change_channel

FILES = {"ema": AVERAGED, "best": BEST}


def load(run: Path, recipe: TrainConfig, weights: str, device: torch.device) -> nn.Module:
    """The run's averaged weights, last or best, in eval mode; rounded as they are stored, so that these are scored.

    Raises:
        ConfigError: missing or unreadable, of another network, or beyond half precision.
    """
    path = run / FILES[weights]
    try:
        tensors = load_file(path)
        network = nets.build(recipe.network.name, **recipe.network.options)
        network.load_state_dict(tensors)
        network.load_state_dict(stored(network))
    except FileNotFoundError:
        raise ConfigError(f"{path}: the run has not written its weights yet") from None
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())[:200]}") from None
    network.eval().requires_grad_(False)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def blend(network: nn.Module, recipe: TrainConfig, weights: str, share: float) -> Manifest:
    """Move a network part of the way to other weights of its kind, such as those that its run was started from.

    What a run has learnt and what it has forgotten lie on the same way, and a part of it often has most of the
    one and little of the other (WiSE-FT: Wortsman et al., CVPR 2022).

    Weights that saw no changes count as if they made nothing of them.

    Args:
        network: changed in place.
        recipe: of its run.
        weights: name or path.
        share: of the way, 0 to 1.

    Returns:
        manifest of the weights.

    Raises:
        ConfigError: they cannot be read, or are of another network or input.
    """
    try:
        other, manifest = nets.load_trained(weights)
    except nets.WeightsError as error:
        raise ConfigError(f"--blend: {error}") from None
    kind = with_change_channel(manifest) if recipe.normalisation.change else manifest
    theirs = (kind.architecture, kind.options, kind.input.normalisation)
    if theirs != (recipe.network.name, recipe.network.options, recipe.normalisation):
        raise ConfigError(f"--blend: {weights} is another network than the run's, or sees pictures otherwise")
    for ours, other_tensor in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        if ours.is_floating_point():
            ours.lerp_(pad_input_channels(other_tensor, ours).to(ours), share)
    network.load_state_dict(stored(network))
    return manifest
