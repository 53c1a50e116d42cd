"""Provenance of published weights: runs, blended weights, twins, and the pictures that they had been trained on."""

import json
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import load_file

import nets
from tests.conftest import ROOT
from tests.training.publishing import publish, small_run
from training import train
from training.provenance import changes, commit, steps
from training.publish import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("published"))


@pytest.mark.parametrize(("words", "share"), [((), 0.5), (("--share", "0.25"), 0.25)])
def test_the_mean_of_a_run_and_other_weights(run, tmp_path, words, share):
    assert publish(run, tmp_path, "--pictures", "1") == 0
    mine = load_file(tmp_path / "mine.safetensors")
    other = {key: value + 1 if value.is_floating_point() else value for key, value in mine.items()}
    network, manifest = nets.load(str(tmp_path / "mine.safetensors"))
    network.load_state_dict(other)
    saved = nets.save(tmp_path / "other.safetensors", network, manifest)
    assert publish(run, tmp_path, "--pictures", "1", "--blend", str(tmp_path / "other.safetensors"), *words) == 0
    mean = load_file(tmp_path / "mine.safetensors")
    for key, value in mine.items():
        expected = value.float() + share * value.is_floating_point()
        torch.testing.assert_close(mean[key].float(), expected, rtol=1e-3, atol=2e-3)
    note = nets.read_manifest(str(tmp_path / "mine.safetensors")).training.note
    assert f"{1 - share:g} of these and {share:g} of the weights of sha256 {saved.sha256}" in note


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [("nothing", "no shipped weights named 'nothing'"), ("mshnet", "mshnet is another network than the run's")],
)
def test_weights_that_cannot_be_blended_with(run, tmp_path, capsys, weights, complaint):
    assert publish(run, tmp_path, "--pictures", "1", "--blend", weights) == 2
    assert f"--blend: {complaint}" in capsys.readouterr().err
    assert not (tmp_path / "mine.safetensors").exists()


def test_a_share_without_blend_is_refused(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        publish(run, tmp_path, "--share", "0.25")
    assert ended.value.code == 2
    assert "--share: needs --blend" in capsys.readouterr().err
    assert not (tmp_path / "mine.safetensors").exists()


def test_changes_made_on_resuming_are_recorded(run, tmp_path):
    resumed = shutil.copytree(run, tmp_path / "run")
    settings = ["--set", "run.steps=5", "--set", "optimiser.lr=0.002"]
    assert train.main(["--resume", str(resumed), *settings]) == 0
    recipe = run.parent / "tiny.yaml"
    arguments = ["--run", str(resumed), "--name", "mine", "--out", str(tmp_path), "--config", str(recipe)]
    assert main([*arguments, "--threads", "1", "--pictures", "1"]) == 0
    training = nets.read_manifest(str(tmp_path / "mine.safetensors")).training
    assert training.steps == 5
    assert "changed in the recipe: optimiser.lr=0.002, run.seed=3, run.steps=5" in training.note


def test_the_weights_that_a_run_started_from_are_recorded(run, tmp_path):
    assert publish(run, tmp_path) == 0
    first = tmp_path / "mine.safetensors"
    later = ["--out", str(tmp_path / "run"), "--set", f"network.pretrained={first}", "--set", "run.steps=1"]
    assert train.main(["--config", str(run.parent / "tiny.yaml"), *later]) == 0
    arguments = ["--run", str(tmp_path / "run"), "--name", "next", "--out", str(tmp_path), "--pictures", "1"]
    assert main([*arguments, "--config", str(run.parent / "tiny.yaml"), "--threads", "1"]) == 0
    sha256 = nets.read_manifest(str(first)).sha256
    note = nets.read_manifest(str(tmp_path / "next.safetensors")).training.note
    assert f"started from weights of sha256 {sha256}" in note


def test_steps_of_the_best_validation_come_from_the_log(run, tmp_path):
    records = [
        {"event": "validation", "step": 5, "mean_iou": 0.3},
        {"event": "training", "step": 6, "loss": 0.1},
        {"event": "validation", "step": 7, "mean_iou": 0.6},
        {"event": "validation", "step": 9, "mean_iou": 0.6},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert steps(tmp_path, "best") == 7


def test_a_run_that_holds_nothing_out_has_no_best_weights(run, tmp_path, capsys):
    recipe = shutil.copy(run.parent / "tiny.yaml", tmp_path)
    assert train.main(["--config", str(recipe), "--out", str(tmp_path / "all"), "--set", ALL]) == 0
    assert "step 4: validation of nothing" in capsys.readouterr().out
    assert not (tmp_path / "all" / "best.safetensors").exists()
    assert publish(tmp_path / "all", tmp_path, "--twin", str(run), "--weights", "best") == 2
    assert "log.jsonl: no validation on pictures with targets" in capsys.readouterr().err


def test_machine_settings_are_not_changes_of_the_recipe(run):
    recipe = train.config.load(run / "recipe.yaml", ["data.root=/elsewhere", "run.threads=7", "optimiser.lr=0.5"])
    assert changes(recipe, run.parent / "tiny.yaml") == ["optimiser.lr=0.5", "run.seed=3"]


def test_commit_is_the_one_of_this_checkout():
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    expected = done.stdout.strip() if done.returncode == 0 else "uncommitted"
    assert commit() in (expected, f"{expected}-dirty")


ALL = "data.sources=[{folder: tiny}, {folder: deep}]"


def test_weights_trained_on_all_pictures_get_the_scores_of_their_twin(run, tmp_path, capsys):
    recipe = shutil.copy(run.parent / "tiny.yaml", tmp_path)
    assert (
        train.main(["--config", str(recipe), "--out", str(tmp_path / "all"), "--set", "run.seed=3", "--set", ALL]) == 0
    )
    assert publish(tmp_path / "all", tmp_path) == 2
    assert "no validation set of the recipe holds a target" in capsys.readouterr().err

    assert publish(run, tmp_path, "--name", "twin") == 0
    assert publish(tmp_path / "all", tmp_path, "--twin", str(run)) == 0
    twin, mine = (nets.read_manifest(str(tmp_path / f"{name}.safetensors")) for name in ("twin", "mine"))
    assert mine.sha256 != twin.sha256
    assert (mine.threshold, mine.validation.metrics) == (twin.threshold, twin.validation.metrics)
    assert mine.training.data == {"tiny": 12, "deep": 12}
    assert mine.validation.split.startswith("held-out part of each training set of a twin run (4 steps)")

    assert publish(tmp_path / "all", tmp_path, "--blend", str(tmp_path / "twin.safetensors"), "--twin", str(run)) == 0
    blended = nets.read_manifest(str(tmp_path / "mine.safetensors"))
    assert blended.validation.metrics == twin.validation.metrics, "the twin and itself"


def test_a_run_of_another_recipe_is_not_a_twin(run, tmp_path, capsys):
    recipe = shutil.copy(run.parent / "tiny.yaml", tmp_path)
    other = ["--config", str(recipe), "--out", str(tmp_path / "all"), "--set", ALL]
    assert train.main([*other, "--set", "run.seed=4", "--set", "data.batch=3"]) == 0
    assert publish(tmp_path / "all", tmp_path, "--twin", str(run)) == 2
    assert "not a twin of the run: data.batch, run.seed differ" in capsys.readouterr().err
    assert publish(tmp_path / "all", tmp_path, "--twin", str(tmp_path / "nobody")) == 2
    assert "nobody" in capsys.readouterr().err
