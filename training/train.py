"""Train a network: ``python -m training.train --config configs/train/NAME.yaml``, also under ``torchrun``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from pipeline.errors import ConfigError, PipelineError
from training import checkpoint, config
from training.distributed import join
from training.trainer import STATE, Trainer

RECIPE = "recipe.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description="Train a network from a recipe.")
    parser.add_argument("--config", type=Path, help="recipe, a YAML file of configs/train")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="folder of a run to go on with")
    parser.add_argument("--out", type=Path, help="folder of a new run; default: runs/NAME of the recipe")
    parser.add_argument("--max-minutes", type=float, help="time budget; the same as --set run.max_minutes=...")
    options = parser.parse_args(arguments)
    if (options.config is None) == (options.resume is None):
        parser.error("either --config or --resume")
    settings = options.set + ([f"run.max_minutes={options.max_minutes}"] if options.max_minutes else [])
    try:
        if options.resume:
            out: Path = options.resume
            recipe = config.override(checkpoint.read_config(out / STATE), settings)
        else:
            recipe = config.load(options.config, settings)
            out = options.out or Path("runs") / options.config.stem
            try:
                out.mkdir(parents=True, exist_ok=True)
                (out / RECIPE).write_bytes(msgspec.yaml.encode(recipe))
            except OSError as error:
                raise ConfigError(f"{out}: {error.strerror}") from None
        if recipe.run.threads:
            torch.set_num_threads(recipe.run.threads)
        with join(recipe.run.device) as world:
            trainer = Trainer(recipe, out, world, time.monotonic, lambda line: print(line, flush=True))
            if options.resume:
                trainer.resume()
            trainer.run()
    except PipelineError as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
