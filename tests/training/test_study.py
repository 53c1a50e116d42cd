import json

import pytest
import yaml

import nets
from tests.conftest import ROOT
from tests.training.synthetic import write_recipe, write_set
from training import config
from training.study import load, main, runs, table


def validation(iou, pd, targets=3, step=4):
    figures = {"targets": targets, "iou": iou, "niou": iou, "pd": pd, "fa": 2e-6, "false_alarms_per_picture": 0.5}
    return {"step": step, "event": "validation", "sets": {"sea": figures}}


def write(file, **study):
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return file


@pytest.fixture
def study(tmp_path):
    write_set(tmp_path / "tiny")
    write_recipe(tmp_path / "tiny.yaml", tmp_path)
    variants = {"as it is": {}, "Dice, small": {"loss.overlap": "dice", "network.options": {"in_channels": 1}}}
    return write(
        tmp_path / "study.yaml", recipe="tiny.yaml", seeds=[0, 5], settings={"run.steps": 2}, variants=variants
    )


def test_the_shipped_studies_can_be_run():
    files = sorted((ROOT / "configs" / "studies").glob("*.yaml"))
    assert files
    for file in files:
        study = load(file)
        for _, seed, settings in runs(study):
            recipe = config.load(file.parent / study.recipe, settings)
            assert recipe.run.seed == seed
            nets.build(recipe.network.name, **recipe.network.options)


def test_every_variant_is_trained_with_every_seed_seed_by_seed(study):
    planned = list(runs(load(study)))
    assert [(name, seed) for name, seed, _ in planned] == [
        ("as it is", 0), ("Dice, small", 0), ("as it is", 5), ("Dice, small", 5)
    ]  # fmt: skip
    assert planned[-1][2] == [
        "run.steps=2", 'loss.overlap="dice"', 'network.options={"in_channels": 1}', "run.seed=5"
    ]  # fmt: skip


def test_means_and_deviations_by_hand():
    text = table({"a": [validation(0.5, 0.9), validation(0.7, 1.0)], "b": [validation(None, None, 0)], "c": []})
    assert text.splitlines()[2:] == [
        "| a | sea | 2 | 0.600 ± 0.141 | 0.600 ± 0.141 | 0.950 ± 0.071 | 2.0 ± 0.0 | 0.500 ± 0.000 |",
        "| b | sea | 1 | - | - | - | 2.0 | 0.500 |",
    ]


def test_a_study_runs_to_its_end_and_does_not_repeat_completed_runs(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--config", str(study), "--out", str(out)]) == 0
    first = capsys.readouterr().out
    assert "4 of 4: Dice, small, seed 5" in first
    assert (out / "table.md").read_text() in first
    written = {run: (out / run / "log.jsonl").read_text() for run in ("as-it-is/0", "dice-small/5")}
    assert yaml.safe_load((out / "dice-small" / "5" / "recipe.yaml").read_text())["loss"]["overlap"] == "dice"
    # Truncate the log of one run before its last validation, as a power failure would.
    log = out / "as-it-is" / "5" / "log.jsonl"
    log.write_text("".join(line for line in log.open() if json.loads(line)["event"] != "validation"))

    assert main(["--config", str(study), "--out", str(out)]) == 0
    again = capsys.readouterr().out
    assert "as it is, seed 5" in again
    assert "seed 0" not in again
    assert {run: (out / run / "log.jsonl").read_text() for run in written} == written
    assert again.splitlines()[1:] == first.splitlines()[4:]  # the same seed, the same figures


def test_runs_with_other_settings_are_repeated(study, tmp_path, capsys):
    command = ["--config", str(study), "--out", str(tmp_path / "out")]
    # The time budget ends this run long before its last step.
    settings = {"run.steps": 100_000, "run.max_minutes": 1e-6}
    write(study, **(yaml.safe_load(study.read_text()) | {"seeds": [0], "settings": settings}))
    assert main(command) == 0
    text = study.read_text()
    study.write_text(text.replace("loss.overlap: dice", "loss.overlap: iou"))
    capsys.readouterr()
    assert main(command) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if " of 2: " in line]
    assert told == ["2 of 2: Dice, small, seed 0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": {}}, "study.yaml: variants: "),
        ({"variants": {"a!": {}, "A": {}}}, "study.yaml: variants: 'a!' gives no unique folder name"),
        ({"variants": {"a": {"loss.colour": 1}}}, "colour"),
        ({"recipe": "gone.yaml"}, "gone.yaml: No such file"),
        ({"seeds": [-1]}, "study.yaml: seeds[0]"),
    ],
)
def test_a_study_that_cannot_be_run_is_refused_before_anything_is(study, tmp_path, capsys, change, message):
    write(study, **(yaml.safe_load(study.read_text()) | change))
    assert main(["--config", str(study), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_ends_the_study(study, tmp_path, capsys):
    (tmp_path / "tiny" / "masks" / "p3.png").unlink()
    assert main(["--config", str(study), "--out", str(tmp_path / "out")]) == 2
    assert "out/as-it-is/0: the run failed, exit code 2" in capsys.readouterr().err


def test_ctrl_c_ends_the_study_in_one_line(study, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.run", interrupted)
    assert main(["--config", str(study), "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "study: interrupted; start it again to go on after the last completed run\n"
