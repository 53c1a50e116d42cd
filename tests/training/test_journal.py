import json

import cv2
import numpy as np
import pytest

from pipeline.errors import ConfigError
from training.journal import Journal, read_log


def line(step, event, **facts):
    return json.dumps({"step": step, "seconds": step / 2, "event": event, **facts}) + "\n"


def write(run, *lines):
    run.mkdir()
    (run / "log.jsonl").write_text("".join(lines))
    return run


def test_a_line_being_written_is_left_out(tmp_path):
    run = write(tmp_path / "run", line(20, "training", loss=0.5), line(40, "training", loss=0.4)[:-3])
    assert [record["step"] for record in read_log(run)] == [20]


def test_steps_taken_again_after_a_resumption_replace_the_old_ones(tmp_path):
    first = [line(20, "training", loss=0.5), line(40, "training", loss=0.4), line(40, "validation", sets={})]
    again = [line(40, "training", loss=0.45), line(60, "training", loss=0.35)]
    run = write(tmp_path / "run", *first, line(60, "training", loss=0.3), *again)
    assert [(r["step"], r["loss"]) for r in read_log(run)] == [(20, 0.5), (40, 0.45), (60, 0.35)]


def test_losses_and_validation_of_one_step_are_both_kept(tmp_path):
    run = write(tmp_path / "run", line(20, "training", loss=0.5), line(20, "validation", sets={}), line(20, "end"))
    assert [record["event"] for record in read_log(run)] == ["training", "validation", "end"]


@pytest.mark.parametrize("torn", ['{"step": 40, "eve', "\0\0\0\0", '{"step"\x0b'])
def test_a_line_torn_by_a_loss_of_power_costs_no_other(tmp_path, torn):
    run = write(tmp_path / "run", line(20, "training", loss=0.5), torn)
    Journal(run).write(40, 20.0, "training", loss=0.4)
    Journal(run).write(60, 30.0, "training", loss=0.3)
    assert (run / "log.jsonl").read_text().count("\n") == 4
    assert [record["step"] for record in read_log(run)] == [20, 40, 60]


def test_a_torn_line_that_was_written_on_is_left_out(tmp_path):
    run = write(tmp_path / "run", line(20, "training", loss=0.5), '{"step": 40' + line(40, "training"))
    with (run / "log.jsonl").open("ab") as file:
        file.write(b'\xff\xfe"\n' + line(60, "training", loss=0.3).encode())
    assert [record["step"] for record in read_log(run)] == [20, 60]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no losses or validations yet"),
        ([line(1, "end")], "no losses or validations yet"),
        ([line(1, "other")], "not a log of a training run"),
        (['{"a": 1}\n'], "not a log of a training run"),
        (['{"step": 1}\n'], "not a log of a training run"),
        (['{"step": "1", "event": "training"}\n'], "not a log of a training run"),
        (["5\n"], "not a log of a training run"),
        (["[]\n"], "not a log of a training run"),
        (["{\n"], "not a log of a training run"),
        (['{"event": "training"}\n', "[]\n"], "not a log of a training run"),
    ],
)
def test_a_log_that_is_none_is_refused(tmp_path, lines, message):
    with pytest.raises(ConfigError, match=rf"run/log\.jsonl: {message}"):
        read_log(write(tmp_path / "run", *lines))


def test_an_overlay_of_a_set_in_a_folder_of_sets_is_written(tmp_path):
    picture = np.full((8, 8, 3), 7, np.uint8)
    Journal(tmp_path).overlay(20, "video_stills/drone_ir", picture)
    assert (cv2.imread(str(tmp_path / "overlays" / "video_stills" / "drone_ir.png")) == picture).all()
