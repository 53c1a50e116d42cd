import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import nets
from tests.training.publishing import publish, small_run
from training import train
from training.checkpoint import read_config
from training.metrics.strict import StrictScore
from training.publish import THRESHOLDS, choose_threshold, main, mean_f1, validate


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("published"))


def test_published_weights_can_be_loaded_and_record_their_provenance(run, tmp_path, capsys):
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


def test_the_recipe_of_a_run_is_required(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--run", str(run), "--name", "mine"])
    assert "--config" in capsys.readouterr().err


def test_the_folder_is_created_and_write_errors_are_reported_in_one_line(run, tmp_path, capsys):
    out = tmp_path / "weights" / "new"
    assert publish(run, out, "--pictures", "1") == 0
    before = (out / "mine.json").read_bytes()
    (out / "mine.safetensors").unlink()
    (out / "mine.safetensors").mkdir()
    capsys.readouterr()
    assert publish(run, out, "--pictures", "1") == 2
    assert capsys.readouterr().err == f"training.publish: {out}/mine.safetensors: cannot be written: is a folder\n"
    assert (out / "mine.json").read_bytes() == before


def test_the_table_is_that_of_the_manifest(run, tmp_path, capsys):
    assert publish(run, tmp_path) == 0
    figures = json.loads((tmp_path / "mine.json").read_text())["validation"]["metrics"]["tiny"]
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| tiny"))
    assert [cell.strip() for cell in row.split("|")[2:4]] == [str(figures["pictures"]), str(figures["targets"])]
    assert float(row.split("|")[4]) == pytest.approx(figures["iou"], abs=5e-4)


def test_the_track_threshold_is_written_to_the_manifest(run, tmp_path, capsys):
    assert publish(run, tmp_path, "--pictures", "1", "--track-threshold", "0.97") == 0
    assert nets.read_manifest(str(tmp_path / "mine.safetensors")).track_threshold == 0.97
    assert publish(run, tmp_path, "--pictures", "1") == 0
    assert nets.read_manifest(str(tmp_path / "mine.safetensors")).track_threshold is None
    with pytest.raises(SystemExit, match="2"):
        publish(run, tmp_path, "--track-threshold", "1.0")
    assert "--track-threshold" in capsys.readouterr().err


def test_a_limit_on_pictures_is_recorded_in_the_manifest(run, tmp_path):
    assert publish(run, tmp_path, "--pictures", "2", "--weights", "best") == 0
    manifest = nets.read_manifest(str(tmp_path / "mine.safetensors"))
    assert {figures["pictures"] for figures in manifest.validation.metrics.values()} == {2}
    assert "at most 2 pictures a set" in manifest.validation.split
    assert "best validation" in manifest.training.note


def rewrite(run, tmp_path, change):
    """Copy the run and its recipe, and change the averaged weights of the copy."""
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.copy(run.parent / "tiny.yaml", tmp_path)
    tensors = load_file(copy / "ema.safetensors")
    change(tensors)
    save_file(tensors, copy / "ema.safetensors")


def test_scores_are_those_of_the_stored_half_precision(run, tmp_path):
    """All probabilities are 0.89994, below the highest threshold; in half precision they are 0.9000037."""

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


def test_two_scales_change_scores_and_manifest_but_not_the_weights(run, tmp_path):
    generator = torch.Generator().manual_seed(4)

    def with_confident_output(tensors):
        for key, tensor in tensors.items():
            if key.endswith("weight") and tensor.ndim == 4:
                tensor.normal_(0, 2 / tensor[0].numel() ** 0.5, generator=generator)

    rewrite(run, tmp_path, with_confident_output)
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
    assert choose_threshold(mean_f1(scores)) == 1


@pytest.mark.parametrize(
    ("values", "index"),
    [([0.5, 0.7, 0.7, 0.6], 2), ([0.0, 0.0, 0.0], 2), ([0.7, 0.696, 0.694], 1), ([0.696, 0.7, 0.5], 1)],
)
def test_the_highest_threshold_within_the_tolerance_is_chosen(values, index):
    assert choose_threshold(values) == index


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


@pytest.mark.parametrize("more", [["--name", "a/b"], ["--out", f"{__file__}/weights"], ["--out", "/proc"]])
def test_names_and_folders_are_checked_first(run, tmp_path, capsys, monkeypatch, more):
    monkeypatch.setattr("training.publish.publish", lambda *_: pytest.fail("the run was scored"))
    assert publish(run, tmp_path, *more) == 2
    assert more[1] in capsys.readouterr().err


def test_a_threshold_may_be_given(run, tmp_path, capsys):
    assert publish(run, tmp_path, "--pictures", "1", "--threshold", "0.35") == 0
    manifest = nets.read_manifest(str(tmp_path / "mine.safetensors"))
    assert manifest.threshold == 0.35
    assert "threshold: asked for" in manifest.training.note
    assert ">= 0.35" in manifest.validation.protocol
    with pytest.raises(SystemExit, match="2"):
        publish(run, tmp_path, "--threshold", "0.36")
    assert "--threshold" in capsys.readouterr().err


def test_a_set_that_is_listed_twice_is_recorded_once(run, tmp_path):
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
