"""Training speed of recipes side by side: ``python -m tools.benchmark_training RECIPE RECIPE ... [--set KEY=VALUE]``.

Steps of the recipes alternate in one run; what is told is the median over the steps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.errors import PipelineError
from training import config
from training.distributed import join
from training.trainer import Trainer

WARM_UP = 3


def measure(trainers: Sequence[Trainer], steps: int) -> list[float]:
    """Median seconds of one optimiser step, drawing its batch included, by trainer."""
    seconds: list[list[float]] = [[] for _ in trainers]
    for round_ in range(WARM_UP + steps):
        for trainer, mine in zip(trainers, seconds, strict=True):
            start = time.perf_counter()
            trainer.step().item()  # waits for the device
            if round_ >= WARM_UP:
                mine.append(time.perf_counter() - start)
    return [statistics.median(mine) for mine in seconds]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.benchmark_training", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help="YAML files of configs/train")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value in all of them")
    parser.add_argument("--steps", type=int, default=20, help="steps of each recipe that count")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to torch")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        recipes = [config.load(file, options.set) for file in options.recipes]
        with tempfile.TemporaryDirectory() as folder, join(recipes[0].run.device) as world:
            trainers = [Trainer(recipe, Path(folder), world, time.monotonic, print) for recipe in recipes]
            seconds = measure(trainers, max(1, options.steps))
    except PipelineError as error:
        sys.stderr.write(f"tools.benchmark_training: {error}\n")
        return error.exit_code
    device = torch.cuda.get_device_name() if world.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    sys.stdout.write(f"{device}\n\n| recipe | crops a step | px | ms a step | crops/s | Mpx/s | against the first |\n")
    sys.stdout.write("|---|---:|---:|---:|---:|---:|---:|\n")
    first = None
    for file, recipe, one in zip(options.recipes, recipes, seconds, strict=True):
        data = recipe.data
        speed = data.batch * data.crop**2 / one / 1e6
        first = first or speed
        sys.stdout.write(
            f"| {file.stem} | {data.batch} | {data.crop} | {one * 1e3:.0f} | {data.batch / one:.1f} | {speed:.2f} "
            f"| {speed / first:.2f} |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
