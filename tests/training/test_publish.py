import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import nets
from tests.conftest import ROOT
from tests.training.synthetic import write_recipe, write_set
from training import train
from training.checkpoint import read_config
from training.metrics.strict import StrictScore
from training.provenance import changes, commit, steps
from training.publish import THRESHOLDS, choose, main, mean_f1, validate


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four steps over a set with targets and one with twelve pictures of 16 bit; beside it, its recipe."""
    root = tmp_path_factory.mktemp("published")
    write_set(root / "tiny")
    write_set(root / "deep", dtype="uint16", seed=1)
    recipe = write_recipe(root / "tiny.yaml", root, ("tiny", "deep"))
    assert train.main(["--config", str(recipe), "--out", str(root / "run"), "--set", "run.seed=3"]) == 0
    return root / "run"


def publish(run, out, *more):
    recipe = run.parent / "tiny.yaml"
    arguments = ["--run", str(run), "--name", "mine", "--out", str(out), "--config", str(recipe), "--threads", "1"]
    return main([*arguments, *more])


def test_published_weights_can_be_loaded_and_say_where_they_come_from(run, tmp_path, capsys):
    assert publish(run, tmp_path) == 0
    network, manifest = nets.load(str(tmp_path / "mine.safetensors"))
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 40, 33)).shape == (1, 1, 40, 33)
    assert manifest.name == "mine"
    assert manifest.architecture == "mshnet"
    assert manifest.input.channels == 1
    assert manifest.threshold in THRESHOLDS
    assert (manifest.training.seed, manifest.training.steps, manifest.training.recipe) == (3, 4, "tiny.yaml")
    held_out = {name: figures["pictures"] for name, figures in manifest.validation.metrics.items()}
    assert {name: 12 - count for name, count in manifest.training.data.items()} == held_out
    assert all(figures["targets"] > 0 for figures in manifest.validation.metrics.values())
    assert "changed in the recipe: run.seed=3" in manifest.training.note
    assert "at most" not in manifest.validation.split
    out = capsys.readouterr().out
    assert "| deep |" in out
    assert f"threshold {manifest.threshold:g}, sha256 {manifest.sha256}" in out


def test_the_table_is_that_of_the_manifest(run, tmp_path, capsys):
    assert publish(run, tmp_path) == 0
    figures = json.loads((tmp_path / "mine.json").read_text())["validation"]["metrics"]["tiny"]
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| tiny"))
    assert [cell.strip() for cell in row.split("|")[2:4]] == [str(figures["pictures"]), str(figures["targets"])]
    assert float(row.split("|")[4]) == pytest.approx(figures["iou"], abs=5e-4)


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


def test_a_share_of_nothing_is_refused(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        publish(run, tmp_path, "--share", "0.25")
    assert ended.value.code == 2
    assert "--share: there is nothing to --blend" in capsys.readouterr().err
    assert not (tmp_path / "mine.safetensors").exists()


def test_changes_made_on_resuming_are_told(run, tmp_path):
    resumed = shutil.copytree(run, tmp_path / "run")
    settings = ["--set", "run.steps=5", "--set", "optimiser.lr=0.002"]
    assert train.main(["--resume", str(resumed), *settings]) == 0
    recipe = run.parent / "tiny.yaml"
    arguments = ["--run", str(resumed), "--name", "mine", "--out", str(tmp_path), "--config", str(recipe)]
    assert main([*arguments, "--threads", "1", "--pictures", "1"]) == 0
    training = nets.read_manifest(str(tmp_path / "mine.safetensors")).training
    assert training.steps == 5
    assert "changed in the recipe: optimiser.lr=0.002, run.seed=3, run.steps=5" in training.note


def test_the_weights_that_a_run_started_from_are_told(run, tmp_path):
    assert publish(run, tmp_path) == 0
    first = tmp_path / "mine.safetensors"
    later = ["--out", str(tmp_path / "run"), "--set", f"network.pretrained={first}", "--set", "run.steps=1"]
    assert train.main(["--config", str(run.parent / "tiny.yaml"), *later]) == 0
    arguments = ["--run", str(tmp_path / "run"), "--name", "next", "--out", str(tmp_path), "--pictures", "1"]
    assert main([*arguments, "--config", str(run.parent / "tiny.yaml"), "--threads", "1"]) == 0
    sha256 = nets.read_manifest(str(first)).sha256
    note = nets.read_manifest(str(tmp_path / "next.safetensors")).training.note
    assert f"started from weights of sha256 {sha256}" in note
    assert "had seen more" not in (tmp_path / "next.json").read_text()


def test_what_may_start_a_track_is_written_down(run, tmp_path, capsys):
    assert publish(run, tmp_path, "--pictures", "1", "--track-threshold", "0.97") == 0
    assert nets.read_manifest(str(tmp_path / "mine.safetensors")).track_threshold == 0.97
    assert publish(run, tmp_path, "--pictures", "1") == 0
    assert nets.read_manifest(str(tmp_path / "mine.safetensors")).track_threshold is None
    with pytest.raises(SystemExit, match="2"):
        publish(run, tmp_path, "--track-threshold", "1.0")
    assert "--track-threshold" in capsys.readouterr().err


def test_a_cap_is_admitted_in_the_manifest(run, tmp_path):
    assert publish(run, tmp_path, "--pictures", "2", "--weights", "best") == 0
    manifest = nets.read_manifest(str(tmp_path / "mine.safetensors"))
    assert {figures["pictures"] for figures in manifest.validation.metrics.values()} == {2}
    assert "at most 2 pictures a set" in manifest.validation.split
    assert "best validation" in manifest.training.note


def rewrite(run, tmp_path, change):
    """A copy of the run beside its recipe, with other averaged weights."""
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.copy(run.parent / "tiny.yaml", tmp_path)
    tensors = load_file(copy / "ema.safetensors")
    change(tensors)
    save_file(tensors, copy / "ema.safetensors")


def test_figures_are_those_of_the_stored_half_precision(run, tmp_path):
    """Everything is at probability 0.89994, short of the highest threshold; in half precision at 0.9000037."""

    def constant(tensors):
        for tensor in tensors.values():
            tensor.zero_()
        tensors["fuse.bias"].fill_(2.1966)

    rewrite(run, tmp_path, constant)
    assert publish(tmp_path / "run", tmp_path) == 0
    network, manifest = nets.load(str(tmp_path / "mine.safetensors"))
    assert network.fuse.bias.item() == 2.197265625
    assert manifest.threshold == 0.9
    for figures in manifest.validation.metrics.values():
        assert figures["false_alarms_per_picture"] == 1  # the whole picture
    assert "float16 weights" in manifest.validation.protocol


def test_two_scales_change_figures_and_manifest_but_not_the_weights(run, tmp_path):
    generator = torch.Generator().manual_seed(4)

    def any_which_is_sure_of_something(tensors):
        for key, tensor in tensors.items():
            if key.endswith("weight") and tensor.ndim == 4:
                tensor.normal_(0, 2 / tensor[0].numel() ** 0.5, generator=generator)

    rewrite(run, tmp_path, any_which_is_sure_of_something)
    figures, hashes = [], set()
    for scales in (1, 2):
        assert publish(tmp_path / "run", tmp_path, "--scales", str(scales)) == 0
        network, manifest = nets.load(str(tmp_path / "mine.safetensors"))
        assert manifest.input.scales == scales
        recipe = read_config(run / "state.safetensors")
        scores = validate(network, recipe, [manifest.threshold], None, torch.device("cpu"))
        for folder, figure in manifest.validation.metrics.items():
            assert figure["iou"] == scores[folder][0].summary()["iou"]
        figures.append(scores["tiny"][0].summary())
        hashes.add(manifest.sha256)
    assert figures[0] != figures[1]
    assert len(hashes) == 1


def scored(found, missed, false):
    score = StrictScore()
    score.found[0], score.targets[0], score.false_components = found, found + missed, false
    return score


def test_the_threshold_rule_by_hand():
    scores = {
        # F1 = 2 found / (found + false + targets)
        "many": [scored(8, 2, 10), scored(8, 2, 2), scored(4, 6, 0)],
        "few": [scored(1, 0, 1), scored(1, 0, 0), scored(1, 0, 0)],
        "sky": [scored(0, 0, 9), scored(0, 0, 5), scored(0, 0, 0)],
    }
    assert mean_f1(scores) == pytest.approx([(16 / 28 + 2 / 3) / 2, (16 / 20 + 1) / 2, (8 / 14 + 1) / 2])
    assert choose(mean_f1(scores)) == 1


@pytest.mark.parametrize(
    ("values", "index"),
    [([0.5, 0.7, 0.7, 0.6], 2), ([0.0, 0.0, 0.0], 2), ([0.7, 0.696, 0.694], 1), ([0.696, 0.7, 0.5], 1)],
)
def test_the_highest_of_thresholds_as_good_as_the_best_wins(values, index):
    assert choose(values) == index


def test_steps_of_the_best_validation_come_from_the_log(run, tmp_path):
    records = [
        {"event": "validation", "step": 5, "mean_iou": 0.3},
        {"event": "training", "step": 6, "loss": 0.1},
        {"event": "validation", "step": 7, "mean_iou": 0.6},
        {"event": "validation", "step": 9, "mean_iou": 0.6},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert steps(tmp_path, "best") == 7


def test_the_machine_is_no_change_of_the_recipe(run):
    recipe = train.config.load(run / "recipe.yaml", ["data.root=/elsewhere", "run.threads=7", "optimiser.lr=0.5"])
    assert changes(recipe, run.parent / "tiny.yaml") == ["optimiser.lr=0.5", "run.seed=3"]


def test_commit_is_the_one_of_this_checkout():
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    expected = done.stdout.strip() if done.returncode == 0 else "uncommitted"
    assert commit() in (expected, f"{expected}-dirty")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("state.safetensors", r"state.safetensors: no checkpoint of a training run"),
        ("ema.safetensors", r"ema.safetensors: the run has not written its weights yet"),
    ],
)
def test_an_incomplete_run_is_refused(run, tmp_path, capsys, fault, message):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / fault).unlink()
    shutil.copy(run.parent / "tiny.yaml", tmp_path)
    assert publish(copy, tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "mine.safetensors").exists()


def test_weights_beyond_half_precision_are_refused(run, tmp_path, capsys):
    rewrite(run, tmp_path, lambda tensors: tensors["stem.weight"].fill_(1e5))
    assert publish(tmp_path / "run", tmp_path) == 2
    error = capsys.readouterr().err
    assert "ema.safetensors: stem.weight: up to 100000, which half precision cannot hold" in error
    assert not (tmp_path / "mine.safetensors").exists()


def test_a_run_without_targets_to_validate_on_is_refused(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    sources = "data.sources=[{folder: tiny, masks: null, validation: 0.4}]"
    assert train.main(["--resume", str(copy), "--set", sources]) == 0
    shutil.copy(run.parent / "tiny.yaml", tmp_path)
    assert publish(copy, tmp_path) == 2
    assert "no validation set of the recipe holds a target" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
@pytest.mark.parametrize("more", [["--name", "a/b"], ["--out", "/nonexistent"]])
def test_names_and_folders_are_checked_before_the_work(run, tmp_path, capsys, more):
    assert publish(run, tmp_path, *more) == 2
    assert more[1] in capsys.readouterr().err


def test_a_threshold_may_be_asked_for(run, tmp_path, capsys):
    assert publish(run, tmp_path, "--pictures", "1", "--threshold", "0.35") == 0
    manifest = nets.read_manifest(str(tmp_path / "mine.safetensors"))
    assert manifest.threshold == 0.35
    assert "threshold: asked for" in manifest.training.note
    assert ">= 0.35" in manifest.validation.protocol
    with pytest.raises(SystemExit, match="2"):
        publish(run, tmp_path, "--threshold", "0.36")
    assert "--threshold" in capsys.readouterr().err


def test_a_set_that_is_listed_twice_is_told_once(run, tmp_path):
    recipe = shutil.copy(run.parent / "tiny.yaml", tmp_path)
    sources = f"data.sources=[{{folder: tiny, validation: 0.4}}, {{folder: {run.parent}/tiny/, validation: 0.4}}]"
    assert train.main(["--config", str(recipe), "--out", str(tmp_path / "run"), "--set", sources]) == 0
    assert publish(tmp_path / "run", tmp_path) == 0
    manifest = nets.read_manifest(str(tmp_path / "mine.safetensors"))
    assert manifest.training.split.count("tiny 0.4 of img_idx/train.txt") == 1
    assert manifest.training.data.keys() == manifest.validation.metrics.keys() == {"tiny"}
    assert manifest.training.data["tiny"] + manifest.validation.metrics["tiny"]["pictures"] == 12


def test_a_picture_too_small_for_the_network_is_named(run, tmp_path, capsys):
    root = tmp_path / "small"
    for folder in ("tiny", "deep"):
        shutil.copytree(run.parent / folder, root / folder)
    shutil.copy(run.parent / "tiny.yaml", tmp_path)
    elsewhere = shutil.copytree(run, tmp_path / "run")
    assert train.main(["--resume", str(elsewhere), "--set", f"data.root={root}", "--set", "run.steps=5"]) == 0
    for folder in (folder for folder in root.glob("tiny/*") if folder.name != "img_idx"):
        for file in folder.iterdir():
            cv2.imwrite(str(file), np.zeros((20, 40), np.uint8))
    capsys.readouterr()
    assert publish(elsewhere, tmp_path) == 2
    assert train.main(["--resume", str(elsewhere)]) == 2
    told = r"%s: /.*/images/p\d+\.png: 40x20 px, but networks need 32x32\n"
    assert re.fullmatch(told % r"training\.publish" + told % "training", capsys.readouterr().err)


ALL = "data.sources=[{folder: tiny}, {folder: deep}]"


def test_weights_that_have_seen_every_picture_have_the_figures_of_their_twin(run, tmp_path, capsys):
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


def test_weights_that_may_know_what_is_held_out_are_told(run, tmp_path, capsys):
    recipe = shutil.copy(run.parent / "tiny.yaml", tmp_path)
    every = "data.sources=[{folder: tiny}, {folder: deep, validation: 0.4}]"
    assert train.main(["--config", str(recipe), "--out", str(tmp_path / "all"), "--set", every]) == 0
    assert publish(tmp_path / "all", tmp_path, "--name", "all") == 0
    assert "had seen more" not in (tmp_path / "all.json").read_text()
    base = tmp_path / "all.safetensors"
    capsys.readouterr()
    later = ["--out", str(tmp_path / "run"), "--set", f"network.pretrained={base}"]
    assert train.main(["--config", str(recipe), *later]) == 0
    assert train.main(["--resume", str(tmp_path / "run"), "--set", "run.steps=5"]) == 0
    assert capsys.readouterr().out.count("tiny: the weights started from have seen more of it than is trained on") == 2

    assert publish(tmp_path / "run", tmp_path) == 0
    started = nets.read_manifest(str(tmp_path / "mine.safetensors"))
    assert publish(run, tmp_path, "--blend", str(base)) == 0
    blended = nets.read_manifest(str(tmp_path / "mine.safetensors"))
    for manifest in (started, blended):
        for split in (manifest.training.split, manifest.validation.split):
            assert split.endswith("; but weights that these were made from had seen more of tiny")


def test_a_run_of_another_recipe_is_no_twin(run, tmp_path, capsys):
    recipe = shutil.copy(run.parent / "tiny.yaml", tmp_path)
    other = ["--config", str(recipe), "--out", str(tmp_path / "all"), "--set", ALL]
    assert train.main([*other, "--set", "run.seed=4", "--set", "data.batch=3"]) == 0
    assert publish(tmp_path / "all", tmp_path, "--twin", str(run)) == 2
    assert "no twin of the run: data.batch, run.seed differ" in capsys.readouterr().err
    assert publish(tmp_path / "all", tmp_path, "--twin", str(tmp_path / "nobody")) == 2
    assert "nobody" in capsys.readouterr().err
