"""A training run: batches, optimiser steps, validation and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import nets
from pipeline.errors import ConfigError, StageError
from training import checkpoint, lineage, predict
from training.checkpoint import Progress
from training.config import TrainConfig
from training.crops import Batch, draw_batch
from training.data import Sample, load_sources, split_sources, spread
from training.distributed import World
from training.journal import Journal
from training.losses.distillation import distillation
from training.losses.total import total_loss
from training.metrics.strict import StrictScore
from training.optimisation import AveragedWeights, build_optimiser, learning_rate
from training.pool import Pool
from training.side_by_side import sheet, side_by_side
from training.teacher import Teachers
from training.widening import pad_input_channels, with_change_channel

STATE, BEST, AVERAGED = "state.safetensors", "best.safetensors", "ema.safetensors"
OVERLAYS = 6


class Trainer:
    """State of a training run: network, optimiser, averaged weights, data and progress.

    Args:
        recipe: The validated recipe.
        out: Existing folder for checkpoints and log.
        world: This process and its place among the processes of the run.
        clock: Monotonic clock, s, for the time budget.
        report: Receives progress messages, one line each.
        resume: Continue from the last checkpoint in ``out``; the weights that the run started from are not needed.

    Attributes:
        stopping: Set it to end the run after the current step, with a checkpoint.

    Raises:
        ConfigError: Network, initial weights, checkpoint, teacher or data are invalid or cannot be read.
    """

    def __init__(
        self,
        recipe: TrainConfig,
        out: Path,
        world: World,
        clock: Callable[[], float],
        report: Callable[[str], None],
        resume: bool = False,
    ) -> None:
        self.recipe, self.out, self.world, self.clock = recipe, out, world, clock
        self.leads = world.rank == 0
        self.report = report if self.leads else lambda line: None
        if recipe.data.batch % world.size:
            raise ConfigError(f"data.batch: {recipe.data.batch} crops cannot be divided among {world.size} processes")
        torch.manual_seed(recipe.run.seed)
        start = None if resume else recipe.network.pretrained
        self.network = build_network(recipe, start).to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        taught = [source.teacher for source in recipe.data.sources]
        self.teachers = Teachers(taught, recipe.normalisation, world.device, recipe.run.precision == "bfloat16")
        self.averaged = AveragedWeights(self.network, recipe.optimiser.ema)
        self.optimiser = build_optimiser(self.network, recipe.optimiser)
        if resume:
            self.progress = checkpoint.restore(
                out / STATE, self.network, self.averaged.network, self.optimiser, world.device
            )
        elif start:
            manifest = nets.read_manifest(start)
            self.progress = Progress(pretrained=manifest.sha256, held_out=lineage.of_weights(manifest))
        else:
            self.progress = Progress()
        root, sources = Path(recipe.data.root), recipe.data.sources
        split = split_sources(root, sources)
        self.progress.held_out = lineage.merge(
            self.progress.held_out, *map(lineage.of_weights, self.teachers.manifests), lineage.of_split(split)
        )
        for name in lineage.leaks(split, self.progress.held_out):
            self.report(
                f"{name}: held-out pictures may be known from initial weights, teachers or an earlier part of this "
                "run; scores may be optimistic"
            )
        training, self.validation = load_sources(root, sources)
        self.pool = Pool(training, world.device)
        self.journal = Journal(out) if self.leads else None
        self.unread_losses: list[Tensor] = []
        self.logged = self.progress.step, self.progress.seconds
        self.stopping = False

    def run(self) -> None:
        """Train to the end of the recipe, with checkpoints and a final validation, or until ``stopping`` is set.

        Raises:
            StageError: A loss or a gradient norm is not finite; files written before are kept.
            ConfigError: A checkpoint cannot be written, or the log cannot be written (then a checkpoint was saved).
        """
        run, before = self.recipe.run, self.clock() - self.progress.seconds
        while self.part_done() < 1:
            self.step()
            self.progress.seconds = self.world.broadcast(self.clock() - before)
            if self.progress.step % run.log_steps == 0:
                self._log_losses()
            if self.progress.seconds - self.progress.validated_at >= 60 * run.validate_minutes:
                best = self.validate(run.validate_pictures)
                now = self.world.broadcast(self.clock() - before)
                self.logged = self.logged[0], self.logged[1] + now - self.progress.seconds
                self.progress.seconds = self.progress.validated_at = now
                if best:  # otherwise a crash would leave the file of a validation that the resumed run knows nothing of
                    self.save()
            stopping = bool(self.world.broadcast(self.stopping))
            if stopping or self.progress.seconds - self.progress.saved_at >= 60 * run.checkpoint_minutes:
                self.save()
            if stopping and self.part_done() < 1:
                return
        self.validate(run.validate_pictures)
        self.save()
        if self.journal:
            self.journal.write(self.progress.step, self.progress.seconds, "end")

    def part_done(self) -> float:
        """Progress from 0 to 1: the larger of the fractions of steps and of the time budget used."""
        run = self.recipe.run
        budget = 60 * run.max_minutes if run.max_minutes else math.inf
        return max(self.progress.step / run.steps, self.progress.seconds / budget)

    def batch(self, step: int) -> Batch:
        """Draw this process's crops of a step, which depend only on (seed, step, rank)."""
        rng = np.random.default_rng([self.recipe.run.seed, step, self.world.rank])
        data = self.recipe.data
        return draw_batch(self.pool, data, self.recipe.normalisation, rng, data.batch // self.world.size)

    def step(self) -> Tensor:
        """Make one optimiser step and return its loss, a scalar on the device."""
        recipe, done = self.recipe, self.part_done()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(done, recipe.optimiser)
        batch = self.batch(self.progress.step)
        self.network.train()
        loss = self._loss(batch, warm=done >= recipe.loss.warm_up)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.world.average_gradients(self.network)
        # The norm of the averaged gradients, so that all processes notice a non-finite gradient in one of them.
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), recipe.optimiser.clip_norm)
        self.optimiser.step()
        self.averaged.update(self.progress.step)
        self.progress.step += 1
        self.unread_losses.append(torch.stack([loss.detach(), norm]))
        return loss.detach()

    def _loss(self, batch: Batch, warm: bool) -> Tensor:
        recipe = self.recipe
        pictures = batch.pictures.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=recipe.run.precision == "bfloat16"):
            logits, heads = self.network(pictures)
        loss = total_loss(logits, heads, batch.masks, recipe.loss, warm, batch.ignored)
        rows, maps = self.teachers.logits(pictures, batch.sources)
        if len(rows):
            share = recipe.loss.taught * len(rows) / len(logits)
            loss = torch.lerp(loss, distillation(logits[rows], maps), share)
        return loss

    def validate(self, most: int) -> bool:
        """Score the averaged weights on at most ``most`` held-out pictures per set; save them if they are the best.

        Returns:
            Whether they are; never if no picture with a target is held out, or in a process that does not lead.
        """
        self._read_losses()
        if self.journal is None:
            return False
        seen = {name: self._score(spread(samples, most)) for name, samples in self.validation.items()}
        figures = {name: score.summary() for name, (score, _) in seen.items()}
        ious = [score.iou for score, _ in seen.values() if score.iou is not None and score.targets.sum()]
        mean = sum(ious) / len(ious) if ious else None
        if best := mean is not None and mean > self.progress.best:
            self.progress.best = mean
            self._write_weights(BEST)
        step, seconds = self.progress.step, self.progress.seconds
        with self._checkpoint_on_failure():
            self.journal.write(step, seconds, "validation", mean_iou=mean, sets=figures)
            for name, (_, rows) in seen.items():
                self.journal.overlay(step, name, sheet(rows))
        self.report(f"step {step}: validation {'of nothing' if mean is None else f'mean IoU {mean:.4f}'}")
        return best

    def save(self) -> None:
        """Write a checkpoint and the current averaged weights."""
        self._read_losses()
        self.progress.saved_at = self.progress.seconds
        if self.leads:
            network, averaged = self.network, self.averaged.network
            checkpoint.save(self.out / STATE, network, averaged, self.optimiser, self.progress, self.recipe)
            self._write_weights(AVERAGED)

    @contextmanager
    def _checkpoint_on_failure(self) -> Iterator[None]:
        """Save a checkpoint if writing the log in this block fails, and raise the error again."""
        try:
            yield
        except ConfigError:
            self.save()
            raise

    def _score(self, samples: Sequence[Sample]) -> tuple[StrictScore, list[NDArray[np.uint8]]]:
        """Return the score of the samples, and side-by-side pictures of the first ``OVERLAYS`` of them."""
        score = StrictScore()
        rows: list[NDArray[np.uint8]] = []
        for sample in samples:
            logits = predict.logits(
                self.averaged.network, sample.picture, self.recipe.normalisation, self.world.device, sample.change
            )
            predicted, truth = (logits > 0).cpu().numpy() & (sample.ignored == 0), sample.mask > 0
            score.update(predicted, truth)
            if len(rows) < OVERLAYS:
                rows.append(side_by_side(sample.picture, truth, predicted, sample.name))
        return score, rows

    def _write_weights(self, name: str) -> None:
        tensors = {key: value.contiguous() for key, value in self.averaged.network.state_dict().items()}
        checkpoint.write(self.out / name, tensors)

    def _read_losses(self) -> list[float]:
        """Read the losses since the last call, which synchronises with the device; called before anything is written.

        Raises:
            StageError: A loss or the norm of its gradients is not finite.
        """
        read: list[tuple[float, float]] = torch.stack(self.unread_losses).tolist() if self.unread_losses else []
        self.unread_losses.clear()
        for back, (loss, norm) in zip(range(len(read), 0, -1), read, strict=True):
            if not math.isfinite(loss + norm):
                step = self.progress.step - back
                names = ", ".join(self.batch(step).names)
                what = f"the loss is {loss} and the norm of all gradients {norm}"
                raise StageError(f"step {step + 1}: {what}; crops of {names}; the last checkpoint is kept")
        return [loss for loss, _ in read]

    def _log_losses(self) -> None:
        losses = self._read_losses()
        if self.journal is None:
            return
        done, step, seconds = self.part_done(), self.progress.step, self.progress.seconds
        rate, loss = self.optimiser.param_groups[0]["lr"], sum(losses) / len(losses)
        steps, passed = step - self.logged[0], seconds - self.logged[1]
        speed, self.logged = steps * self.recipe.data.batch / max(passed, 1e-9), (step, seconds)
        with self._checkpoint_on_failure():
            self.journal.write(step, seconds, "training", loss=loss, lr=rate, done=done, crops_per_second=speed)
        left = seconds / done * max(0.0, 1 - done) / 60
        self.report(
            f"step {step}  loss {loss:.4f}  lr {rate:.2e}  {speed:.1f} crops/s  {done:.1%} done  {left:.1f} min left"
        )


def build_network(recipe: TrainConfig, pretrained: str | None) -> nn.Module:
    """Build the recipe's network with random weights, or with those of a name or path.

    Raises:
        ConfigError: The network is unknown, or the weights cannot be read or have another architecture or input.
    """
    name, options = recipe.network.name, recipe.network.options
    try:
        network = nets.build(name, **options)
    except ValueError as error:
        raise ConfigError(f"network: {error}") from None
    if pretrained is None:
        return network
    try:
        weights, manifest = nets.load_trained(pretrained)
    except nets.WeightsError as error:
        raise ConfigError(f"network.pretrained: {error}") from None
    if recipe.network.partial and recipe.normalisation.change:
        manifest = with_change_channel(manifest)
    theirs = (manifest.architecture, manifest.options, manifest.input.normalisation)
    ours = (name, options, recipe.normalisation)
    for what, one, other in zip(("name", "options", "normalisation"), theirs, ours, strict=True):
        if one != other and not (what == "options" and recipe.network.partial):
            raise ConfigError(f"network.pretrained: {pretrained} differs in its {what} from the recipe")
    fresh = network.state_dict()
    old = {key: pad_input_channels(value, fresh[key]) for key, value in weights.state_dict().items() if key in fresh}
    fitting = {key: value for key, value in old.items() if value.shape == fresh[key].shape}
    network.load_state_dict(fresh | fitting)
    return network
