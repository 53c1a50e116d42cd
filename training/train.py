"""Train a network: ``python -m training.train --config configs/train/NAME.yaml``, also under ``torchrun``."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import torch

from pipeline.arguments import positive
from pipeline.errors import INTERRUPTED, ConfigError, PipelineError
from pipeline.malloc import keep_freed_memory
from training import checkpoint, config
from training.device import exact_float32
from training.distributed import join
from training.trainer import STATE, Trainer

RECIPE = "recipe.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 130 if interrupted, with a checkpoint after the first step."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description="Train a network from a recipe.")
    parser.add_argument("--config", type=Path, help="recipe: a YAML file of configs/train")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="folder of a run to continue")
    parser.add_argument("--out", type=Path, help="folder of a new run; default: runs/NAME of the recipe")
    parser.add_argument("--max-minutes", type=positive, help="time budget; the same as --set run.max_minutes=...")
    options = parser.parse_args(arguments)
    if (options.config is None) == (options.resume is None):
        parser.error("give either --config or --resume")
    settings = options.set + ([f"run.max_minutes={options.max_minutes}"] if options.max_minutes else [])
    try:
        if options.resume:
            out: Path = options.resume
            recipe = config.override(checkpoint.read_config(out / STATE), settings)
        else:
            recipe = config.load(options.config, settings)
            out = options.out or Path("runs") / options.config.stem
            if (out / STATE).exists():
                raise ConfigError(
                    f"{out}: contains a run; continue with --resume {out}, delete it or choose another --out"
                )
            try:
                out.mkdir(parents=True, exist_ok=True)
                (out / RECIPE).write_bytes(msgspec.yaml.encode(recipe))
            except OSError as error:
                raise ConfigError(f"{out}: {error.strerror}") from None
        if recipe.run.threads:
            torch.set_num_threads(recipe.run.threads)
        torch.backends.cudnn.benchmark = True  # all batches have the same shape
        exact_float32()
        with join(recipe.run.device) as world:
            report = partial(print, flush=True)
            trainer = Trainer(recipe, out, world, time.monotonic, report, resume=options.resume is not None)
            keep_freed_memory()  # only now, so that the memory used for reading the pictures has been returned
            with _stop_on_signals(trainer):
                trainer.run()
        if trainer.stopping and trainer.part_done() < 1:
            print(f"training: interrupted; continue with --resume {out}", file=sys.stderr)
            return INTERRUPTED
    except KeyboardInterrupt:
        print("training: interrupted before the first step", file=sys.stderr)
        return INTERRUPTED
    except PipelineError as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_code
    return 0


@contextmanager
def _stop_on_signals(trainer: Trainer) -> Iterator[None]:
    """Stop the run in an orderly way on the first SIGINT or SIGTERM, and at once on the second."""

    def stop(number: int, frame: object) -> None:
        trainer.stopping = True
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
