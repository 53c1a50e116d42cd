"""Failures of a run are reported in one line, and files written before are kept."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.errors import ConfigError, StageError
from tests.training.running import trainer
from training import checkpoint
from training.journal import read_log
from training.train import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "run.stepz=3"], "run: .*unknown field `stepz`"),
        (["--set", "network.name=resnet"], "network: unknown architecture 'resnet'"),
        (["--set", "network.name=unet", "--set", "network.options={width: 1000000}"], "network: architecture 'unet'"),
        (["--set", "data.root=/nonexistent"], r"/nonexistent/tiny/img_idx/train\.txt: No such file"),
    ],
)
def test_invalid_runs_are_refused_in_one_line(tmp_path, recipe, capsys, arguments, message):
    assert main(["--config", str(recipe), "--out", str(tmp_path / "run"), *arguments]) == 2
    error = capsys.readouterr().err
    assert re.match(rf"training: .*{message}.*\n$", error)


def test_a_folder_that_holds_a_run_is_not_written_to(tmp_path, recipe, capsys):
    out = tmp_path / "run"
    trainer(recipe, out).save()
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert main(["--config", str(recipe), "--out", str(out), "--set", "run.seed=5"]) == 2
    told = f"training: {out}: contains a run; continue with --resume {out}, delete it or choose another --out\n"
    assert capsys.readouterr().err == told
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


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
def test_no_step_is_lost_when_the_log_cannot_be_written(tmp_path, recipe, capsys, name, block, told):
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
def test_a_log_that_cannot_be_opened_is_reported_in_one_line(tmp_path, recipe, capsys, name, block):
    out = tmp_path / "run"
    out.mkdir()
    block(out / name)
    assert main(["--config", str(recipe), "--out", str(out)]) == 2
    assert re.fullmatch(rf"training: {out / name}: cannot be written: .*\n", capsys.readouterr().err)


def test_an_interruption_while_pictures_are_read_is_reported_in_one_line(tmp_path, recipe):
    names = tmp_path / "tiny" / "img_idx" / "train.txt"
    names.unlink()
    os.mkfifo(names)
    script = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "from training.train import main; sys.exit(main(sys.argv[1:]))"
    words = ["--config", str(recipe), "--out", str(tmp_path / "run")]
    with (
        subprocess.Popen([sys.executable, "-c", script, *words], stderr=subprocess.PIPE, text=True) as run,
        names.open("w"),  # waits for the reader and then blocks it
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
    assert errors == f"training: interrupted; continue with --resume {out}\n"
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
def test_a_signal_at_the_end_of_a_run_does_not_interrupt_it(tmp_path, recipe, line):
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


def nan_loss(network):
    with torch.no_grad():
        network.fuse.bias.fill_(float("nan"))


def infinite_gradient(network):
    network.fuse.bias.register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (nan_loss, "the loss is nan and the norm of all gradients nan"),
        (infinite_gradient, r"the loss is \d\.\d+ and the norm of all gradients (inf|nan)"),
    ],
)
@pytest.mark.parametrize("every", ["checkpoint_minutes", "validate_minutes"])
def test_a_non_finite_loss_or_gradient_ends_the_run_and_keeps_all_files(tmp_path, recipe, spoil, told, every):
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
