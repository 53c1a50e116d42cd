"""Train one recipe in several variants, each with several seeds, and compare the results.

python -m training.study --config configs/studies/NAME.yaml

An interrupted study can be started again: completed runs with the same settings are not repeated.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

from msgspec import Meta, Struct

from pipeline.errors import INTERRUPTED, ConfigError, PipelineError
from pipeline.settings import convert_to, read_yaml
from training import config
from training.config import TrainConfig
from training.journal import LOG, Record, read_log
from training.train import RECIPE
from training.trainer import STATE

FIGURES = {"iou": "IoU", "niou": "nIoU", "pd": "Pd", "fa": "Fa (1e-6)", "false_alarms_per_picture": "FA / picture"}
UNITS = {"fa": 1e6}
TABLE = "table.md"


class Study(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A comparison of variants of a recipe.

    Attributes:
        recipe: A file of configs/train, relative to the study's file.
        variants: Overrides of each variant, by its name in the table.
        seeds: Seeds; each variant is run once per seed.
        settings: Overrides ``key.path: value`` that apply to all runs.
    """

    recipe: str
    variants: Annotated[dict[str, dict[str, Any]], Meta(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)] = (0, 1, 2)
    settings: dict[str, Any] = {}


def load(path: Path) -> Study:
    """Load a study from a YAML file; raises ConfigError, also if two variants would share a folder."""
    study = convert_to(Study, read_yaml(path), str(path))
    slugs = [slug(name) for name in study.variants]
    for name, short in zip(study.variants, slugs, strict=True):
        if not short or slugs.count(short) > 1:
            raise ConfigError(f"{path}: variants: {name!r} gives no unique folder name")
    return study


def slug(name: str) -> str:
    """Return a folder name of lower-case letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def runs(study: Study) -> Iterator[tuple[str, int, list[str]]]:
    """Yield variant, seed and settings of every run, seed by seed, so that an unfinished table is balanced as well."""
    for seed in study.seeds:
        for name, changes in study.variants.items():
            settings = study.settings | changes | {"run.seed": seed}
            yield name, seed, [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def last_validation(run: Path, recipe: TrainConfig) -> Record | None:
    """Return the last validation of a completed run of exactly this recipe; None if there is none."""
    try:
        log = read_log(run) if config.load(run / RECIPE) == recipe else []
    except ConfigError:
        return None
    ended = [record["event"] for record in log[-2:]] == ["validation", "end"]
    return log[-2] if ended else None


def table(results: Mapping[str, Sequence[Record]]) -> str:
    """Format mean and sample standard deviation over the seeds, per variant and data set, as a Markdown table.

    Args:
        results: Last validations of each variant, one per seed; variants without any are left out.
    """
    lines = [
        "| variant | set | seeds | " + " | ".join(FIGURES.values()) + " |",
        "|---|---|---:|" + "---:|" * len(FIGURES),
    ]
    for name, records in results.items():
        for data in records[0]["sets"] if records else ():
            cells = [_cell(key, [record["sets"][data][key] for record in records]) for key in FIGURES]
            lines.append(f"| {name} | {data} | {len(records)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(key: str, values: Sequence[float | None]) -> str:
    known = [UNITS.get(key, 1) * value for value in values if value is not None]
    digits = 1 if key in UNITS else 3
    if not known:
        return "-"
    spread = f" ± {stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{fmean(known):.{digits}f}{spread}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.study", description="Compare variants of a recipe.")
    parser.add_argument("--config", type=Path, required=True, help="study: a YAML file of configs/studies")
    parser.add_argument("--out", type=Path, help="folder for runs and table; default: runs/studies/NAME")
    options = parser.parse_args(arguments)
    out = options.out or Path("runs") / "studies" / options.config.stem
    try:
        study = load(options.config)
        recipe = options.config.parent / study.recipe
        planned = list(runs(study))
        recipes = [config.load(recipe, settings) for _, _, settings in planned]
        results: dict[str, list[Record]] = {name: [] for name in study.variants}
        for number, ((name, seed, settings), wanted) in enumerate(zip(planned, recipes, strict=True), 1):
            run = out / slug(name) / str(seed)
            if (found := last_validation(run, wanted)) is None:
                print(f"{number} of {len(planned)}: {name}, seed {seed}", flush=True)
                code = _train(recipe, settings, run)
                found = None if code else last_validation(run, wanted)
                if found is None:
                    raise ConfigError(f"{run}: the run failed, exit code {code}")
            results[name].append(found)
            (out / TABLE).write_text(table(results), encoding="utf-8")
        print(table(results), end="")
    except PipelineError as error:
        print(f"study: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"study: {error.filename or out}: {error.strerror}", file=sys.stderr)
        return ConfigError.exit_code
    except KeyboardInterrupt:
        print("study: interrupted; start it again to go on after the last completed run", file=sys.stderr)
        return INTERRUPTED
    return 0


def _train(recipe: Path, settings: Sequence[str], run: Path) -> int:
    """Start one run from the beginning and return its exit code."""
    for name in (STATE, LOG):
        (run / name).unlink(missing_ok=True)
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "training.train", "--config", str(recipe), "--out", str(run), *words]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
