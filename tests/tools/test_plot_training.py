import json

import cv2
import pytest

from tests.training.synthetic import write_recipe, write_set
from tools.plot_training import draw, main, series, smooth
from training import train
from training.journal import read_log


def line(step, event, **facts):
    return json.dumps({"step": step, "seconds": step / 2, "event": event, **facts}) + "\n"


def figures(iou, pd, targets=3):
    return {"targets": targets, "iou": iou, "pd": pd, "false_alarms_per_picture": 0.5}


def write(run, *lines):
    run.mkdir()
    (run / "log.jsonl").write_text("".join(lines))
    return run


def test_the_log_of_a_real_run(tmp_path):
    write_set(tmp_path / "tiny")
    recipe = write_recipe(tmp_path / "tiny.yaml", tmp_path)
    assert train.main(["--config", str(recipe), "--out", str(tmp_path / "run")]) == 0
    records = read_log(tmp_path / "run")
    steps, values = series(records, "tiny", "false_alarms_per_picture")
    assert steps == [4]
    assert values[0] >= 0
    out = tmp_path / "runs.png"
    assert main([str(tmp_path / "run"), str(tmp_path / "run"), "--out", str(out)]) == 0
    assert cv2.imread(str(out)).std() > 10


def test_smoothing_by_hand():
    assert smooth([]) == []
    assert smooth([1.0, 5.0]) == [1.0, 5.0]
    values = [0.0] * 40 + [3.0] + [0.0] * 39  # window of two values to either side
    assert smooth(values)[38:43] == pytest.approx([0.6] * 5)
    assert smooth([3.0] + [0.0] * 79)[0] == pytest.approx(1.0)


def test_a_set_without_targets_has_false_alarms_only():
    records = [{"step": 7, "event": "validation", "sets": {"sky": figures(0.0, None, targets=0)}}]
    assert [series(records, "sky", key) for key in ("iou", "pd")] == [([], [])] * 2
    assert series(records, "sky", "false_alarms_per_picture") == ([7], [0.5])
    assert series(records, "other", "iou") == ([], [])


def test_a_line_per_run_and_a_column_per_set(tmp_path):
    runs = {
        "a": [
            {"step": 5, "event": "training", "loss": 0.5},
            {"step": 9, "event": "validation", "sets": {"sea": figures(0.2, 0.4), "sky": figures(0.6, 0.8)}},
        ],
        "b": [{"step": 8, "event": "validation", "sets": {"sky": figures(0.7, 0.9)}}],
    }
    loss, *axes = draw(runs).axes
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["a", "b"]
    assert [axis.get_title() for axis in axes[:2]] == ["sea", "sky"]
    points = [[tuple(map(list, one.get_data())) for one in axis.lines] for axis in axes[:4]]
    assert points == [
        [([9], [0.2]), ([], [])],
        [([9], [0.6]), ([8], [0.7])],
        [([9], [0.4]), ([], [])],
        [([9], [0.8]), ([8], [0.9])],
    ]


def test_wrong_usage_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "gone"), "--out", str(tmp_path / "x.png")]) == 2
    run = write(tmp_path / "run", line(20, "training", loss=0.5))
    assert main([str(run), "--out", str(tmp_path / "gone" / "x.png")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "gone/log.jsonl: No such file" in first
    assert "gone/x.png: No such file" in second
