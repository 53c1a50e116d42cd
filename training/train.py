"""Train a network: ``python -m training.train --config configs/train/NAME.yaml``."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import nets
from pipeline.errors import ConfigError, PipelineError
from training import checkpoint, config, predict
from training.checkpoint import Progress
from training.config import TrainConfig
from training.crops import draw_batch
from training.data import Sample, load_sources
from training.losses.mask import multi_scale_loss
from training.metrics.strict import StrictScore
from training.optimisation import AveragedWeights, adamw, learning_rate

STATE, BEST, AVERAGED = "state.safetensors", "best.safetensors", "ema.safetensors"
LOG, RECIPE = "log.jsonl", "recipe.yaml"


class Trainer:
    """One run: network, optimiser, averaged weights, data and where it stands.

    Args:
        recipe: the checked recipe.
        out: existing folder that receives checkpoints and log.
        clock: seconds, monotonic; what the time budget is measured with.
        report: receives one line of text for people now and then.
    """

    def __init__(
        self, recipe: TrainConfig, out: Path, clock: Callable[[], float], report: Callable[[str], None]
    ) -> None:
        self.recipe, self.out, self.clock, self.report = recipe, out, clock, report
        name = recipe.run.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(name)
        torch.manual_seed(recipe.run.seed)
        try:
            network = nets.build(recipe.network.name, **recipe.network.options)
        except ValueError as error:
            raise ConfigError(f"network: {error}") from None
        if recipe.network.pretrained:
            start_from(recipe.network.pretrained, network, recipe)
        self.network: nn.Module = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = AveragedWeights(self.network, recipe.optimiser.ema)
        self.optimiser = adamw(self.network, recipe.optimiser)
        self.training, self.validation = load_sources(Path(recipe.data.root), recipe.data.sources)
        self.progress = Progress()

    def resume(self) -> None:
        """Go on from the run's last checkpoint."""
        self.progress = checkpoint.restore(
            self.out / STATE, self.network, self.averaged.network, self.optimiser, self.device
        )

    def run(self) -> None:
        """Train to the end of the recipe, with checkpoints on the way and a last validation."""
        run, before = self.recipe.run, self.clock() - self.progress.seconds
        losses: list[float] = []
        while self.part_done() < 1:
            losses.append(self.step())
            self.progress.seconds = self.clock() - before
            if self.progress.step % run.log_steps == 0:
                self._log_training(losses)
                losses.clear()
            if self.progress.seconds - self.progress.validated_at >= 60 * run.validate_minutes:
                self.validate(run.validate_pictures)
                self.progress.seconds = self.clock() - before
                self.progress.validated_at = self.progress.seconds
            if self.progress.seconds - self.progress.saved_at >= 60 * run.checkpoint_minutes:
                self.save()
        self.validate(run.validate_pictures)
        self.save()

    def part_done(self) -> float:
        """Progress from 0 to 1: of the steps, or of the time budget if that is further."""
        run = self.recipe.run
        budget = 60 * run.max_minutes if run.max_minutes else math.inf
        return max(self.progress.step / run.steps, self.progress.seconds / budget)

    def step(self) -> float:
        """One optimiser step on the batch that belongs to (seed, step); returns its loss."""
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.part_done(), recipe.optimiser)
        rng = np.random.default_rng([recipe.run.seed, self.progress.step])
        pictures, masks = draw_batch(self.training, recipe.data, recipe.normalisation, rng)
        pictures = pictures.to(self.device, memory_format=torch.channels_last)
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.run.precision == "bfloat16"):
            logits, heads = self.network(pictures)
        loss: Tensor = multi_scale_loss(logits, heads, masks.to(self.device), recipe.optimiser.cross_entropy)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.optimiser.clip_norm)
        self.optimiser.step()
        self.averaged.update(self.network, self.progress.step)
        self.progress.step += 1
        return loss.item()

    def validate(self, most: int) -> None:
        """Score the averaged weights on at most ``most`` held-out pictures a set; keep them if they are the best."""
        scores = {name: self._score(samples[:most]) for name, samples in self.validation.items()}
        figures = {name: score.summary() for name, score in scores.items()}
        ious = [score.iou for score in scores.values() if score.iou is not None and score.targets.sum()]
        mean = sum(ious) / len(ious) if ious else 0.0
        self._log({"event": "validation", "mean_iou": mean, "sets": figures})
        self.report(f"step {self.progress.step}: validation mean IoU {mean:.4f}")
        if mean > self.progress.best:
            self.progress.best = mean
            self._write_weights(BEST)

    def save(self) -> None:
        """Write the checkpoint and the averaged weights as they are now."""
        self.progress.saved_at = self.progress.seconds
        network, averaged = self.network, self.averaged.network
        checkpoint.save(self.out / STATE, network, averaged, self.optimiser, self.progress, self.recipe)
        self._write_weights(AVERAGED)

    def _score(self, samples: Sequence[Sample]) -> StrictScore:
        score = StrictScore()
        for sample in samples:
            logits = predict.logits(self.averaged.network, sample.picture, self.recipe.normalisation, self.device)
            score.update((logits > 0).cpu().numpy(), sample.mask > 0)
        return score

    def _write_weights(self, name: str) -> None:
        tensors = {key: value.contiguous() for key, value in self.averaged.network.state_dict().items()}
        save_file(tensors, (self.out / name).with_suffix(".new"))
        (self.out / name).with_suffix(".new").replace(self.out / name)

    def _log_training(self, losses: Sequence[float]) -> None:
        done, seconds = self.part_done(), self.progress.seconds
        rate = self.optimiser.param_groups[0]["lr"]
        loss = sum(losses) / len(losses)
        self._log({"event": "training", "loss": loss, "lr": rate, "done": done})
        left = seconds / done * max(0.0, 1 - done) / 60
        self.report(f"step {self.progress.step}  loss {loss:.4f}  lr {rate:.2e}  {done:.1%} done  {left:.1f} min left")

    def _log(self, record: dict[str, Any]) -> None:
        line = {"step": self.progress.step, "seconds": round(self.progress.seconds, 3), **record}
        with (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def start_from(pretrained: str, network: nn.Module, recipe: TrainConfig) -> None:
    """Fill a network with published weights, by name or path.

    Raises:
        ConfigError: they cannot be read, are of another architecture, or were trained on another input.
    """
    try:
        weights, manifest = nets.load(pretrained)
    except nets.WeightsError as error:
        raise ConfigError(f"network.pretrained: {error}") from None
    theirs = (manifest.architecture, manifest.options, manifest.input.normalisation)
    ours = (recipe.network.name, recipe.network.options, recipe.normalisation)
    if theirs != ours:
        what = next(k for k, a, b in zip(("name", "options", "normalisation"), theirs, ours, strict=True) if a != b)
        raise ConfigError(f"network.pretrained: {pretrained} has another {what} than the recipe")
    network.load_state_dict(weights.state_dict())


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
            out.mkdir(parents=True, exist_ok=True)
            (out / RECIPE).write_bytes(msgspec.yaml.encode(recipe))
        if recipe.run.threads:
            torch.set_num_threads(recipe.run.threads)
        trainer = Trainer(recipe, out, time.monotonic, lambda line: print(line, flush=True))
        if options.resume:
            trainer.resume()
        trainer.run()
    except PipelineError as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
