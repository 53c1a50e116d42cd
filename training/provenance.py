"""Provenance of deployed weights for their manifest: recipe changes, commit, steps and data split."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import ConfigError
from training import checkpoint, config
from training.config import SourceConfig, TrainConfig
from training.data import set_name
from training.journal import LOG, read_log
from training.trainer import STATE

# Keys that depend on the machine and do not affect the result; initial weights are identified by their hash instead.
MACHINE_KEYS = ("data.root", "network.pretrained", "run.device", "run.threads")


def changes(recipe: TrainConfig, file: Path) -> list[str]:
    """List the differences between a run and its recipe file as ``key.path=value``, without machine-dependent keys."""
    ours, theirs = (_flat(msgspec.to_builtins(tree)) for tree in (recipe, config.load(file)))
    different = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    return [f"{key}={json.dumps(ours.get(key))}" for key in different if key not in MACHINE_KEYS]


def read_twin(state: Path, recipe: TrainConfig) -> TrainConfig:
    """Return the recipe of a twin run, which may differ from the run's only in the pictures that were held out.

    Args:
        state: Checkpoint of the twin.
        recipe: Recipe of the run.

    Raises:
        ConfigError: The checkpoint cannot be read, or its recipe differs.
    """
    twin = checkpoint.read_config(state)
    ours, theirs = (_flat(msgspec.to_builtins(_without_validation(tree))) for tree in (recipe, twin))
    if different := sorted(key for key in ours if key not in MACHINE_KEYS and ours[key] != theirs.get(key)):
        raise ConfigError(f"{state}: not a twin of the run: {', '.join(different)} differ")
    return twin


def commit() -> str:
    """Return the checkout's commit, with ``-dirty`` if tracked files differ; ``uncommitted`` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "uncommitted"
    return done.stdout.strip()


def steps(run: Path, weights: str) -> int:
    """Return the optimiser steps of the weights: those of the last checkpoint, or of the best validation in the log."""
    if weights == "ema":
        return checkpoint.read_progress(run / STATE).step
    records = [record for record in read_log(run) if record["event"] == "validation"]
    validations = [record for record in records if record["mean_iou"] is not None]
    if not validations:
        raise ConfigError(f"{run / LOG}: no validation on pictures with targets, so no weights are the best")
    # Of equal scores the trainer keeps the first, and so does max.
    return int(max(validations, key=lambda record: record["mean_iou"])["step"])


def describe_split(root: Path, sources: Sequence[SourceConfig]) -> str:
    """Describe in words how pictures were split into training and validation."""
    called = [(set_name(root, source), source) for source in sources]
    hashed = dict.fromkeys(f"{n} {s.validation:g} of {s.split or 'all pictures'}" for n, s in called if _share(s))
    listed = dict.fromkeys(f"{n} {s.validation}" for n, s in called if isinstance(s.validation, str))
    return (
        f"held out for validation, never trained on: by sha256 of set/name (neighbouring frames of one recording may "
        f"lie on both sides) {', '.join(hashed) or 'nothing'}; by list {', '.join(listed) or 'nothing'}"
    )


def _without_validation(recipe: TrainConfig) -> TrainConfig:
    sources = [msgspec.structs.replace(source, validation=0.0) for source in recipe.data.sources]
    return msgspec.structs.replace(recipe, data=msgspec.structs.replace(recipe.data, sources=sources))


def _share(source: SourceConfig) -> float:
    return 0.0 if isinstance(source.validation, str) else source.validation


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        flat |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat
