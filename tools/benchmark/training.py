"""Part "training": speed of a training step with the published recipe and ours, in turns on rendered stills."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from msgspec import Struct

from pipeline.errors import ConfigError
from tools import render_stills
from tools.benchmark.job import Context, Findings, Job, Part
from tools.benchmark.timing import interleave, summarise
from training import config
from training.distributed import join
from training.trainer import Trainer

RECIPES = Path(__file__).resolve().parents[2] / "configs" / "train"
PUBLISHED = "published"


class Scope(Struct, frozen=True, kw_only=True):
    """How much is measured: names of recipes, number of stills to draw crops from, and total time in s."""

    recipes: tuple[str, ...] = (PUBLISHED, "mshnet")
    stills: int = 24
    budget_s: float = 60.0
    settings: tuple[str, ...] = ()


class Training(Struct, frozen=True, kw_only=True):
    """Speed of one recipe.

    Attributes:
        recipe: name of the file in ``configs/train``; only its data are replaced.
        crops: crops per step.
        px: side of a crop in px.
        ms: median time of an optimiser step, including drawing its batch.
        spread: interquartile range relative to the median.
        images_per_s: crops per second.
        mpx_per_s: 1e6 pixels per second.
        times_published: pixels per second relative to the published recipe.
    """

    recipe: str
    crops: int
    px: int
    ms: float
    spread: float
    images_per_s: float
    mpx_per_s: float
    times_published: float


def jobs(scope: Scope, context: Context) -> list[Job]:
    """Return one job for all recipes."""
    return [Job("training", lambda: compare(scope, context))]


def compare(scope: Scope, context: Context) -> Findings:
    """Time the steps of all recipes in turns.

    Raises:
        PipelineError: a recipe is missing or cannot be run.
    """
    torch.set_num_threads(context.threads)
    with TemporaryDirectory(dir=context.folder) as folder:
        stills = Path(folder) / "stills"
        if render_stills.main(["--out", str(stills), "--scenes", str(-(-scope.stills // 4)), "--per-scene", "4"]):
            raise ConfigError(f"{stills}: stills cannot be rendered")
        data = [f"data.root={folder}", "data.sources=[{folder: stills, weight: 1.0, scale: [1.0, 1.0]}]"]
        recipes = {name: config.load(RECIPES / f"{name}.yaml", [*data, *scope.settings]) for name in scope.recipes}
        for name in recipes:
            (Path(folder) / name).mkdir()
        with join(next(iter(recipes.values())).run.device) as world:
            trainers = {
                name: Trainer(recipe, Path(folder) / name, world, time.monotonic, lambda line: None)
                for name, recipe in recipes.items()
            }
            ways = {name: _step(trainer) for name, trainer in trainers.items()}
            seconds = interleave(ways, scope.budget_s)
    rates = {
        name: recipe.data.batch * recipe.data.crop**2 / summarise(seconds[name]).median / 1e6
        for name, recipe in recipes.items()
    }
    rows = []
    for name, recipe in recipes.items():
        median, spread = summarise(seconds[name])
        rows.append(
            Training(
                recipe=name,
                crops=recipe.data.batch,
                px=recipe.data.crop,
                ms=1000 * median,
                spread=spread,
                images_per_s=recipe.data.batch / median,
                mpx_per_s=rates[name],
                times_published=rates[name] / rates[scope.recipes[0]],
            )
        )
    return Findings({"training": rows})


def _step(trainer: Trainer) -> Callable[[], object]:
    return lambda: trainer.step().item()  # waits for the device


PART = Part(
    "training",
    "A step of the published recipe and of ours, on rendered stills.",
    Scope(),
    Scope(stills=8, budget_s=15.0),
    jobs,
)
