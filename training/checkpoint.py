"""Checkpoints: the state of a run in one safetensors file that is replaced atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.settings import convert_to
from training.config import TrainConfig, convert


class Progress(Struct, kw_only=True, forbid_unknown_fields=True):
    """Progress of a run. Batches are a function of (seed, step), so no generator state needs to be stored.

    Attributes:
        step: Optimiser steps done.
        seconds: Training time used, summed over all resumptions.
        validated_at, saved_at: ``seconds`` at the last validation and checkpoint.
        best: Best validation score so far; -1 before the first validation.
        pretrained: sha256 of the weights that the run started from; empty for random initialisation.
        held_out: What this run, and everything its weights were made from, held out, see ``training.lineage``.
    """

    step: int = 0
    seconds: float = 0.0
    validated_at: float = 0.0
    saved_at: float = 0.0
    best: float = -1.0
    pretrained: str = ""
    held_out: dict[str, str] = {}


def save(
    path: Path,
    network: nn.Module,
    averaged: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    config: TrainConfig,
) -> None:
    """Write a checkpoint with everything that is needed to resume the run exactly."""
    tensors: dict[str, Tensor] = {}
    for prefix, module in (("network", network), ("averaged", averaged)):
        tensors |= {f"{prefix}.{key}": value for key, value in module.state_dict().items()}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": value for key, value in slots.items()}
    header = msgspec.json.encode(_Header(progress, config)).decode()
    write(path, {key: value.contiguous() for key, value in tensors.items()}, {"run": header})


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically: if writing fails, an existing file stays as it is.

    Raises:
        ConfigError: The file cannot be written.
    """
    new = path.with_suffix(".new")
    try:
        save_file(tensors, new, metadata)
        new.replace(path)
    except (OSError, SafetensorError) as error:
        new.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {' '.join(str(error).split())}") from None


def read_config(path: Path) -> TrainConfig:
    """Return the recipe stored in a checkpoint.

    Raises:
        ConfigError: The file is missing or is not a checkpoint of this program.
    """
    return convert(_header(path).config, str(path))


def read_progress(path: Path) -> Progress:
    """Return the progress stored in a checkpoint; raises ConfigError like ``read_config``."""
    return convert_to(Progress, _header(path).progress, str(path))


def restore(
    path: Path, network: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device
) -> Progress:
    """Load network, averaged weights and optimiser from a checkpoint and return its progress; inverse of ``save``.

    Raises:
        ConfigError: The checkpoint belongs to another network or optimiser, or is incomplete.
    """
    progress = read_progress(path)
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "averaged": {}, "optimiser": {}}
    with safe_open(path, "pt", device=str(device)) as file:
        for key in file.keys():  # noqa: SIM118 - a safetensors handle is no dict
            prefix, _, rest = key.partition(".")
            if prefix not in groups:
                raise ConfigError(f"{path}: {key}: not a tensor of a checkpoint")
            groups[prefix][rest] = file.get_tensor(key)
    try:
        network.load_state_dict(groups["network"])
        averaged.load_state_dict(groups["averaged"])
    except RuntimeError as error:
        raise ConfigError(f"{path}: a checkpoint of another network: {' '.join(str(error).split())[:200]}") from None
    parameters, names = [p for group in optimiser.param_groups for p in group["params"]], _slots(optimiser)
    kept = {f"{k}.{slot}": (k, slot, p) for k, p in enumerate(parameters) for slot in names}
    saved = groups["optimiser"]
    if (saved or progress.step) and (different := sorted(kept.keys() ^ saved.keys())):
        raise ConfigError(f"{path}: a checkpoint of another optimiser, or an incomplete one: optimiser.{different[0]}")
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        index, slot, parameter = kept[key]
        if value.shape != (() if slot == "step" else parameter.shape):
            raise ConfigError(f"{path}: optimiser.{key}: another shape than its weight: {tuple(value.shape)}")
        # The moments get the memory layout of their parameter, so that a resumed run is bit-exact.
        # The step stays on the CPU: it is moved if the optimiser is fused, and others would wait for the device.
        laid_out = value.cpu() if slot == "step" else torch.empty_like(parameter).copy_(value)
        slots.setdefault(index, {})[slot] = laid_out
    optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    return progress


class _Header(Struct):
    progress: Any
    config: Any


def _header(path: Path) -> _Header:
    try:
        with safe_open(path, "pt") as file:
            return msgspec.json.decode(file.metadata()["run"], type=_Header)
    except (OSError, SafetensorError, KeyError, TypeError, msgspec.MsgspecError, RecursionError):
        raise ConfigError(f"{path}: no checkpoint of a training run") from None


def _slots(optimiser: torch.optim.Optimizer) -> list[str]:
    """Names of the state tensors per parameter, found by one step of a fresh optimiser of the same type."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    other = type(optimiser)([parameter])  # type: ignore[call-arg]
    other.step()
    return list(other.state[parameter])
