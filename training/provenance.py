"""How deployed weights came to be, for their manifest: what was changed, from which commit, in how many steps."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import ConfigError
from training import checkpoint, config
from training.config import SourceConfig, TrainConfig
from training.data import Split, set_name
from training.journal import LOG, read_log
from training.trainer import STATE

# Where a run took place, not what was learnt; the weights that it was started from are told by their hash.
MACHINE_KEYS = ("data.root", "network.pretrained", "run.device", "run.threads")


def changes(recipe: TrainConfig, file: Path) -> list[str]:
    """What the run changed in the recipe file, as ``key.path=value``; only what bears on the result."""
    ours, theirs = (_flat(msgspec.to_builtins(tree)) for tree in (recipe, config.load(file)))
    different = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    return [f"{key}={json.dumps(ours.get(key))}" for key in different if key not in MACHINE_KEYS]


def read_twin(state: Path, recipe: TrainConfig) -> TrainConfig:
    """The recipe of a twin run, which must be this one but for the pictures that were held out.

    Args:
        state: checkpoint of the twin.
        recipe: of the run.

    Raises:
        ConfigError: unreadable, or another recipe.
    """
    twin = checkpoint.read_config(state)
    ours, theirs = (_flat(msgspec.to_builtins(_without_validation(tree))) for tree in (recipe, twin))
    if different := sorted(key for key in ours if key not in MACHINE_KEYS and ours[key] != theirs.get(key)):
        raise ConfigError(f"{state}: no twin of the run: {', '.join(different)} differ")
    return twin


def commit() -> str:
    """The checkout's commit, with ``-dirty`` after it if tracked files differ; ``uncommitted`` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "uncommitted"
    return done.stdout.strip()


def steps(run: Path, weights: str) -> int:
    """Optimiser steps behind the weights: of the last checkpoint, or of the best validation in the log."""
    if weights == "ema":
        return checkpoint.read_progress(run / STATE).step
    validations = [record for record in read_log(run) if record["event"] == "validation"]
    if not validations:
        raise ConfigError(f"{run / LOG}: no validation")
    # The trainer keeps the first of equals.
    return int(max(validations, key=lambda record: record["mean_iou"])["step"])


def describe_split(root: Path, sources: Sequence[SourceConfig]) -> str:
    """How training and validation were told apart, in words."""
    called = [(set_name(root, source), source) for source in sources]
    hashed = dict.fromkeys(f"{n} {s.validation:g} of {s.split or 'all pictures'}" for n, s in called if _share(s))
    listed = dict.fromkeys(f"{n} {s.validation}" for n, s in called if isinstance(s.validation, str))
    return (
        f"held out for validation, never trained on: by sha256 of set/name (neighbouring frames of one recording may "
        f"lie on both sides) {', '.join(hashed) or 'nothing'}; by list {', '.join(listed) or 'nothing'}"
    )


def describe_leakage(split: Split, before: Iterable[Mapping[str, int]]) -> str:
    """Of which sets weights that others were made from may know what was held out, in words; empty if of none.

    Args:
        split: of the run that was scored.
        before: by set, how many pictures each of those weights had been trained on.
    """
    sets = dict.fromkeys(name for counts in before for name in split.possible_leaks(counts))
    return f"; but weights that these were made from had seen more of {', '.join(sets)}" if sets else ""


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
