"""Training runs: learning, time budget, logging and exact resumption."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from itertools import count

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.nets.test_registry import SMALL
from tests.training.running import ALONE, trainer
from training import checkpoint, config
from training.data import split_names
from training.distributed import World
from training.losses.total import total_loss
from training.publish import validate
from training.train import main
from training.trainer import Trainer, build_network


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(tmp_path, recipe, precision):
    settings = [f"run.precision={precision}", "run.steps=4"]
    whole = trainer(recipe, tmp_path / "whole", settings)
    losses = [whole.step() for _ in range(4)]

    first = trainer(recipe, tmp_path / "halves", settings)
    halves = [first.step() for _ in range(2)]
    first.save()
    second = trainer(recipe, tmp_path / "halves", settings, resume=True)
    assert second.progress.step == 2
    halves += [second.step() for _ in range(2)]

    assert halves == losses
    for one, other in ((whole.network, second.network), (whole.averaged.network, second.averaged.network)):
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key
    moments = [t.optimiser.state_dict()["state"] for t in (whole, second)]
    for index, slots in moments[0].items():
        for key, value in slots.items():
            assert torch.equal(value, moments[1][index][key]), (index, key)


def test_training_learns_bright_squares(tmp_path, recipe):
    run = trainer(recipe, tmp_path / "run", ["run.steps=24", "optimiser.lr=3.0e-3"])
    losses = [run.step() for _ in range(24)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_network_is_trained(tmp_path, recipe, name):
    architecture, options = SMALL[name]
    run = trainer(recipe, tmp_path / "run", [f"network.name={architecture}", f"network.options={json.dumps(options)}"])
    before = {key: value.clone() for key, value in run.network.named_parameters()}
    assert run.step().isfinite()
    assert any(not torch.equal(value, before[key]) for key, value in run.network.named_parameters())


def test_adagrad_and_all_augmentations_train(tmp_path, recipe):
    augment = "data.augment={paste: 1, gamma: 0.3, blur: 1, noise: 1, jpeg: 1, gain: 0.2, offset: 0.2}"
    run = trainer(recipe, tmp_path / "run", ["optimiser.name=adagrad", "optimiser.lr=0.05", augment])
    losses = [run.step() for _ in range(24)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_seeds_differ(tmp_path, recipe):
    losses = {trainer(recipe, tmp_path / "run", [f"run.seed={seed}"]).step() for seed in (0, 1)}
    assert len(losses) == 2


def test_the_time_budget_ends_a_run_and_drives_the_learning_rate(tmp_path, recipe):
    ticks = iter(range(0, 100_000, 15))
    out = tmp_path / "run"
    out.mkdir()
    recipe = config.load(recipe, ["run.steps=1000", "run.max_minutes=1", "optimiser.lr_end=0"])
    run = Trainer(recipe, out, ALONE, clock=lambda: float(next(ticks)), report=lambda line: None)
    run.run()
    assert run.progress.step == 4
    assert run.progress.seconds == 60
    assert run.optimiser.param_groups[0]["lr"] == pytest.approx(recipe.optimiser.lr * (1 - 0.5**0.5) / 2)


def test_command_line_trains_logs_and_resumes(tmp_path, recipe, capsys):
    out = tmp_path / "run"
    assert main(["--config", str(recipe), "--out", str(out), "--set", "run.steps=2"]) == 0
    assert {p.name for p in out.iterdir()} - {"tensorboard"} == {
        "recipe.yaml", "log.jsonl", "state.safetensors", "ema.safetensors", "best.safetensors", "overlays",
    }  # fmt: skip
    assert cv2.imread(str(out / "overlays" / "tiny.png")).std() > 10
    assert config.load(out / "recipe.yaml") == config.load(recipe, ["run.steps=2"])
    assert checkpoint.read_progress(out / "state.safetensors").step == 2
    assert main(["--resume", str(out), "--set", "run.steps=4"]) == 0
    assert checkpoint.read_progress(out / "state.safetensors").step == 4
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [(e["event"], e["step"]) for e in events] == [
        ("training", 2), ("validation", 2), ("end", 2), ("training", 4), ("validation", 4), ("end", 4),
    ]  # fmt: skip
    figures = events[-2]["sets"]["tiny"]
    assert figures["targets"] > 0
    assert events[-2]["mean_iou"] == figures["iou"]
    assert re.search(r"step 4: validation mean IoU 0\.\d{4}", capsys.readouterr().out)
    averages = load_file(out / "ema.safetensors")
    state = load_file(out / "state.safetensors")
    assert all(torch.equal(value, state[f"averaged.{key}"]) for key, value in averages.items())


def test_speed_is_of_the_steps_since_the_last_line_without_validations(tmp_path, recipe):
    """The clock advances 15 s per reading: once after a step and once after a validation."""
    often = ["run.log_steps=1", "run.validate_minutes=1.0e-9", "run.validate_pictures=1"]
    for resume, settings in ((False, ["run.steps=2"]), (True, ["run.steps=4", "data.batch=4"])):
        run = trainer(recipe, tmp_path / "run", [*often, *settings], resume)
        run.clock = partial(next, count(0.0, 15.0))
        run.run()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    speeds = [record["crops_per_second"] for record in log if record["event"] == "training"]
    assert speeds == pytest.approx([2 / 15, 2 / 15, 4 / 15, 4 / 15])


def test_validation_pictures_are_spread_over_the_whole_set(tmp_path, recipe):
    """Only the middle one of the held-out pictures has a target."""
    settings = config.load(recipe)
    names = split_names(tmp_path, settings.data.sources[0])[1]
    for name in set(names) - {names[len(names) // 2]}:
        cv2.imwrite(str(tmp_path / "tiny" / "masks" / f"{name}.png"), np.zeros((64, 64), np.uint8))
    trainer(recipe, tmp_path / "run").validate(1)
    (line,) = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["sets"]["tiny"]["targets"] > 0
    assert validate(build_network(settings, None).eval(), settings, [0.5], 1, ALONE.device)["tiny"][0].targets.sum() > 0


def test_two_processes_of_torchrun_average_their_gradients(tmp_path, recipe):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "training.train",
    ]
    settings = ["--config", str(recipe), "--out", str(tmp_path / "run"), "--set", "run.steps=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command + settings, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 1: validation") == 1  # one of them reports
    together = load_file(tmp_path / "run" / "state.safetensors")

    one = config.load(recipe, ["data.batch=1"])
    halves = [Trainer(one, tmp_path, World(k, 1, ALONE.device), lambda: 0.0, print) for k in range(2)]
    for half in halves:
        batch = half.batch(0)
        half.network.train()
        total_loss(*half.network(batch.pictures), batch.masks, one.loss, False, batch.ignored).backward()
    network, optimiser = halves[0].network, halves[0].optimiser
    for mine, theirs in zip(network.parameters(), halves[1].network.parameters(), strict=True):
        mine.grad = (mine.grad + theirs.grad) / 2
    torch.nn.utils.clip_grad_norm_(network.parameters(), one.optimiser.clip_norm)
    optimiser.step()
    for key, value in network.named_parameters():
        torch.testing.assert_close(together[f"network.{key}"], value.detach(), rtol=1e-4, atol=1e-5)
