import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import nets
from nets.normalisation import FrameZScore
from pipeline.errors import ConfigError, StageError
from tests.detect.conftest import written
from tests.nets.test_registry import SMALL
from tests.training.synthetic import write_recipe, write_set
from training import checkpoint, config
from training.data import split_names
from training.distributed import World
from training.journal import read_log
from training.losses.total import total_loss
from training.publish import validate
from training.train import main
from training.trainer import Trainer, build_network

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def recipe(tmp_path):
    write_set(tmp_path / "tiny")
    return write_recipe(tmp_path / "tiny.yaml", tmp_path)


def trainer(file, out, settings=(), resume=False):
    out.mkdir(exist_ok=True)
    return Trainer(config.load(file, settings), out, ALONE, lambda: 0.0, lambda line: None, resume)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "run.stepz=3"], "run: .*unknown field `stepz`"),
        (["--set", "network.name=resnet"], "network: unknown architecture 'resnet'"),
        (["--set", "network.name=unet", "--set", "network.options={width: 1000000}"], "network: architecture 'unet'"),
        (["--set", "data.root=/nonexistent"], r"/nonexistent/tiny/img_idx/train\.txt: No such file"),
    ],
)
def test_wrong_runs_are_refused_in_one_line(tmp_path, recipe, capsys, arguments, message):
    assert main(["--config", str(recipe), "--out", str(tmp_path / "run"), *arguments]) == 2
    error = capsys.readouterr().err
    assert re.match(rf"training: .*{message}.*\n$", error)


def test_a_folder_that_holds_a_run_is_not_written_to(tmp_path, recipe, capsys):
    out = tmp_path / "run"
    trainer(recipe, out).save()
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert main(["--config", str(recipe), "--out", str(out), "--set", "run.seed=5"]) == 2
    told = f"training: {out}: holds a run; go on with --resume {out}, delete it or choose another --out\n"
    assert capsys.readouterr().err == told
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_speed_is_of_the_steps_since_the_last_line_and_leaves_validations_out(tmp_path, recipe):
    """A clock that says 15 s more whenever it is asked: once after a step, once after a validation."""
    often = ["run.log_steps=1", "run.validate_minutes=1.0e-9", "run.validate_pictures=1"]
    for resume, settings in ((False, ["run.steps=2"]), (True, ["run.steps=4", "data.batch=4"])):
        run = trainer(recipe, tmp_path / "run", [*often, *settings], resume)
        run.clock = partial(next, count(0.0, 15.0))
        run.run()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    speeds = [record["crops_per_second"] for record in log if record["event"] == "training"]
    assert speeds == pytest.approx([2 / 15, 2 / 15, 4 / 15, 4 / 15])


def test_few_pictures_are_taken_from_the_whole_of_a_set(tmp_path, recipe):
    """Of all that are held out, only the one in the middle has a target."""
    settings = config.load(recipe)
    names = split_names(tmp_path, settings.data.sources[0])[1]
    for name in set(names) - {names[len(names) // 2]}:
        cv2.imwrite(str(tmp_path / "tiny" / "masks" / f"{name}.png"), np.zeros((64, 64), np.uint8))
    trainer(recipe, tmp_path / "run").validate(1)
    (line,) = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["sets"]["tiny"]["targets"] > 0
    assert validate(build_network(settings, None).eval(), settings, [0.5], 1, ALONE.device)["tiny"][0].targets.sum() > 0


@pytest.mark.parametrize(
    ("name", "block", "told"),
    [
        (
            "log.jsonl",
            lambda path: path.symlink_to("/dev/full"),
            "log.jsonl: cannot be written: No space left on device",
        ),
        ("overlays", Path.touch, "overlays/tiny.png: cannot be written: File exists"),
        ("overlays/tiny.png", Path.mkdir, "overlays/tiny.png: cannot be written: Is a directory"),
    ],
)
def test_a_log_that_cannot_be_written_costs_no_step(tmp_path, recipe, capsys, name, block, told):
    out = tmp_path / "run"
    (out / name).parent.mkdir(parents=True)
    block(out / name)
    assert main(["--config", str(recipe), "--out", str(out), "--set", "run.steps=1"]) == 2
    assert capsys.readouterr().err == f"training: {out}/{told}\n"
    assert checkpoint.read_progress(out / "state.safetensors").step == 1
    assert (out / "best.safetensors").read_bytes() == (out / "ema.safetensors").read_bytes()
    shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    assert main(["--resume", str(out)]) == 0
    assert read_log(out)[-1]["event"] == "end"


@pytest.mark.parametrize(("name", "block"), [("log.jsonl", Path.mkdir), ("tensorboard", Path.touch)])
def test_a_log_that_cannot_be_begun_is_told_in_one_line(tmp_path, recipe, capsys, name, block):
    out = tmp_path / "run"
    out.mkdir()
    block(out / name)
    assert main(["--config", str(recipe), "--out", str(out)]) == 2
    assert re.fullmatch(rf"training: {out / name}: cannot be written: .*\n", capsys.readouterr().err)


def test_an_interruption_while_pictures_are_read_is_told_in_one_line(tmp_path, recipe):
    names = tmp_path / "tiny" / "img_idx" / "train.txt"
    names.unlink()
    os.mkfifo(names)
    script = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "from training.train import main; sys.exit(main(sys.argv[1:]))"
    words = ["--config", str(recipe), "--out", str(tmp_path / "run")]
    with (
        subprocess.Popen([sys.executable, "-c", script, *words], stderr=subprocess.PIPE, text=True) as run,
        names.open("w"),  # waits for the reader, and keeps it waiting
    ):
        run.send_signal(signal.SIGINT)
        errors = run.communicate(timeout=120)[1]
    assert (run.returncode, errors) == (130, "training: interrupted before the first step\n")


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_loses_no_step(tmp_path, recipe, word):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "training.train", "--config", str(recipe), "--out", str(out)]
    settings = ["--set", "run.steps=100000", "--set", "run.log_steps=1"]
    with subprocess.Popen(command + settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        lines = [run.stdout.readline() for _ in range(3)]
        assert lines[2].startswith("step 3 "), lines
        run.send_signal(word)
        rest, errors = run.communicate(timeout=120)
    assert run.returncode == 130
    assert errors == f"training: interrupted; go on with --resume {out}\n"
    steps = [int(line.split()[1]) for line in rest.splitlines()]
    assert checkpoint.read_progress(out / "state.safetensors").step == max([3, *steps])


SIGNALLED = """
import os, signal, sys
from training.train import main
class Terminal:
    def write(self, text):
        if text.startswith(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGTERM)
        return sys.__stdout__.write(text)
    def flush(self):
        sys.__stdout__.flush()
sys.stdout = Terminal()
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("line", ["step 2  loss", "step 2: validation"])
def test_a_signal_that_comes_with_the_end_interrupts_nothing(tmp_path, recipe, line):
    words = ["--config", str(recipe), "--out", str(tmp_path), "--set", "run.steps=2", "--set", "run.log_steps=1"]
    run = subprocess.run(
        [sys.executable, "-c", SIGNALLED, line, *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "step 2: validation mean IoU" in run.stdout


@pytest.mark.parametrize("content", [None, b"no tensors"])
def test_no_checkpoint_to_resume(tmp_path, capsys, content):
    if content:
        (tmp_path / "state.safetensors").write_bytes(content)
    assert main(["--resume", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"training: {tmp_path}/state.safetensors: no checkpoint of a training run\n"


def test_a_run_starts_from_published_weights(tmp_path, recipe):
    settings = ["network.options={in_channels: 3}", "normalisation.windows=[17, 49]", "network.pretrained=mshnet"]
    start, published = trainer(recipe, tmp_path / "run", settings).network, nets.load_trained("mshnet")[0]
    for key, value in published.state_dict().items():
        assert torch.equal(value, start.state_dict()[key]), key


@pytest.mark.parametrize("fate", ["gone", "replaced"])
def test_a_run_goes_on_without_the_weights_that_it_started_from(tmp_path, recipe, fate):
    start, out = tmp_path / "start.safetensors", tmp_path / "run"
    network, manifest = nets.load_trained("mshnet")
    sha256 = nets.save(start, network, manifest).sha256
    settings = ["network.options={in_channels: 3}", "normalisation.windows=[17, 49]", f"network.pretrained={start}"]
    words = [word for setting in [*settings, "run.steps=1"] for word in ("--set", setting)]
    assert main(["--config", str(recipe), "--out", str(out), *words]) == 0
    start.unlink()
    if fate == "replaced":
        nets.save(start, *nets.load_trained("edge"))
    assert main(["--resume", str(out), "--set", "run.steps=2"]) == 0
    progress = checkpoint.read_progress(out / "state.safetensors")
    assert (progress.step, progress.pretrained) == (2, sha256)


def taught_by(weights):
    """A setting that has the crops of the recipe taught by these weights."""
    return f"data.sources=[{{folder: tiny, validation: 0.4, teacher: {weights}}}]"


def as_edge(**options):
    """Settings of a network such as the shipped one, with these options more."""
    manifest = nets.read_manifest("edge")
    wanted = {"network.options": manifest.options | options, "normalisation": manifest.input.normalisation}
    return [
        "network.name=edge_unet",
        *(f"{key}={msgspec.json.encode(value).decode()}" for key, value in wanted.items()),
    ]


def test_a_run_takes_what_fits_from_weights_of_a_network_with_other_options(tmp_path, recipe):
    settings = as_edge(fine=4)
    fresh = trainer(recipe, tmp_path / "run", settings).network.state_dict()
    settings += ["network.pretrained=edge", "network.partial=true"]
    start, published = trainer(recipe, tmp_path / "run", settings).network.state_dict(), nets.load_trained("edge")[0]
    taken = {key for key, value in published.state_dict().items() if torch.equal(value, start[key])}
    assert set(published.state_dict()) - taken == {"head.weight", "head.bias"}
    assert all(torch.equal(start[key], fresh[key]) for key in set(start) - taken)


def test_a_network_that_is_shown_changes_begins_as_the_one_that_was_not(tmp_path, recipe):
    path = written(tmp_path / "single.safetensors", FrameZScore(windows=(9,)))
    settings = ["network.options={in_channels: 3}", "normalisation.windows=[9]", "normalisation.change=true"]
    settings += [f"network.pretrained={path}", "network.partial=true"]
    second = trainer(recipe, tmp_path / "second", settings)
    picture = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = second.network.eval()(picture), nets.load_trained(path)[0](picture[:, :2])
    torch.testing.assert_close(ours, theirs)
    with pytest.raises(ConfigError, match="another options than the recipe"):
        trainer(recipe, tmp_path / "third", [*settings, "network.partial=false"])


def test_a_pupil_comes_closer_to_its_teacher(tmp_path, recipe):
    settings = [*as_edge(), taught_by("edge"), "loss.taught=1.0", "run.steps=30", "optimiser.lr=3.0e-3"]
    run = trainer(recipe, tmp_path / "run", settings)
    losses = []
    while run.part_done() < 1:
        losses.append(float(run.step()))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["network.pretrained=nothing"], "network.pretrained: no shipped weights named 'nothing'"),
        (["network.pretrained=mshnet"], "network.pretrained: mshnet has another options than the recipe"),
        ([taught_by("nothing")], "data.sources: teacher: no shipped weights named 'nothing'"),
        ([taught_by("mshnet")], "data.sources: teacher: mshnet has another normalisation than the recipe"),
    ],
)
def test_weights_that_cannot_be_started_from_are_refused(tmp_path, recipe, capsys, settings, complaint):
    chosen = [argument for setting in settings for argument in ("--set", setting)]
    assert main(["--config", str(recipe), "--out", str(tmp_path / "run"), *chosen]) == 2
    assert complaint in capsys.readouterr().err


def loss_that_is_no_number(network):
    with torch.no_grad():
        network.fuse.bias.fill_(float("nan"))


def gradient_beyond_all_numbers(network):
    network.fuse.bias.register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (loss_that_is_no_number, "the loss is nan and the norm of all gradients nan"),
        (gradient_beyond_all_numbers, r"the loss is \d\.\d+ and the norm of all gradients (inf|nan)"),
    ],
)
@pytest.mark.parametrize("every", ["checkpoint_minutes", "validate_minutes"])
def test_what_is_no_number_ends_the_run_and_spares_all_that_was_written(tmp_path, recipe, spoil, told, every):
    run = trainer(recipe, tmp_path / "run", ["run.steps=8", "run.log_steps=100", f"run.{every}=1.0e-9"])
    run.step()
    run.save()
    run.validate(1)
    written = {name: (tmp_path / "run" / f"{name}.safetensors").read_bytes() for name in ("state", "ema", "best")}
    spoil(run.network)
    run.progress.best, run.progress.saved_at, run.progress.validated_at = -1.0, -1.0, -1.0
    with pytest.raises(
        StageError, match=rf"step 2: {told}; crops of tiny/p\d+, tiny/p\d+; the last checkpoint is kept"
    ):
        run.run()
    assert {name: (tmp_path / "run" / f"{name}.safetensors").read_bytes() for name in written} == written


def test_a_checkpoint_of_another_network_is_refused(tmp_path, recipe, capsys):
    assert main(["--config", str(recipe), "--out", str(tmp_path / "run"), "--set", "run.steps=1"]) == 0
    assert main(["--resume", str(tmp_path / "run"), "--set", "network.name=unet"]) == 2
    assert "a checkpoint of another network" in capsys.readouterr().err


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, recipe):
    run = trainer(recipe, tmp_path / "run")
    run.save()
    saved = (tmp_path / "run" / "state.safetensors").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(saved) // 2, hard))
    try:
        with pytest.raises(ConfigError, match=r"state\.safetensors: cannot be written"):
            run.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == saved


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
