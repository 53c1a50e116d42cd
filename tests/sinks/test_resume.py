"""The last stage after a restart: nothing is written twice, nothing is left out, and counters continue."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import ConfigError
from pipeline.journal import Journal
from pipeline.messages import CONFIRMED, TENTATIVE
from pipeline.sinks.config import SinkConfig
from pipeline.sinks.counters import Counters
from pipeline.sinks.stage import SinkStage
from tests.messages import end, tracked, tracked_packet
from tests.sinks.files import read_video


def life(tmp_path, attempt, **config):
    stage = SinkStage(SinkConfig(**config), tmp_path / "out", attempt=attempt, journal=Journal(tmp_path / "j", ["a"]))
    stage.open()
    return stage


def frames(tmp_path, name):
    return [json.loads(line)["frame"] for line in (tmp_path / "out" / "a" / name).read_text().splitlines()]


def packet(seq):
    return tracked_packet([{"id": 1, "state": CONFIRMED if seq else TENTATIVE}], [{"x": 5.0}], seq=seq)


def test_restart_continues_after_the_lines_already_written(tmp_path):
    first = life(tmp_path, 0)
    for seq in range(8):
        first.process([packet(seq)])
    # It dies here: nothing is closed, and the last frames are delivered again.
    second = life(tmp_path, 1)
    for seq in range(6, 16):
        second.process([packet(seq)])
    second.process([end("a")])
    second.close()
    for name in ("tracks.jsonl", "detections.jsonl"):
        assert frames(tmp_path, name) == list(range(16))
    rows = (tmp_path / "out" / "a" / "tracks.mot.txt").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows] == list(range(2, 17))
    assert len(read_video(tmp_path / "out" / "a" / "overlay.2.mp4")[0]) == 8
    report = second.reports()["a"]
    assert (report.delivered, report.tracks_confirmed, report.end) == (16, 1, "finished")


@pytest.mark.parametrize("written", [1, 2, 3])
def test_crash_between_two_files_of_one_frame(tmp_path, written):
    first = life(tmp_path, 0, overlay=False)
    for seq in range(3):
        first.process([packet(seq)])
    for file, render in first._files["a"]._lines[:written]:
        file.write(render(tracked([{"id": 1}], seq=3)))
    second = life(tmp_path, 1, overlay=False)
    for seq in range(3, 5):
        second.process([packet(seq)])
    second.close()
    for name in ("tracks.jsonl", "detections.jsonl"):
        assert frames(tmp_path, name) == list(range(5))
    rows = (tmp_path / "out" / "a" / "tracks.mot.txt").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows] == [2, 3, 4, 5]
    assert second.reports()["a"].delivered == 5


def test_files_of_an_earlier_run_are_replaced_before_or_after_a_restart(tmp_path):
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "tracks.jsonl").write_text("from an earlier run\n")
    stage = life(tmp_path, 3, overlay=False)
    stage.process([packet(0)])
    stage.close()
    assert frames(tmp_path, "tracks.jsonl") == [0]


OLD = ["tracks.jsonl", "detections.jsonl", "tracks.mot.txt", "overlay.mp4", "overlay.2.mp4", "overlay.12.mp4"]
FOREIGN = ["overlay.best.mp4", "overlay.1.mp4", "overlay.02.mp4", "notes.txt", "tracks.jsonl.bak"]


@pytest.mark.parametrize(
    ("config", "written"),
    [
        ({}, {"tracks.jsonl", "detections.jsonl", "tracks.mot.txt"}),
        ({"overlay": False, "mot": False}, {"tracks.jsonl", "detections.jsonl"}),
        ({"overlay": False, "jsonl": False}, {"tracks.mot.txt"}),
    ],
)
def test_results_of_an_earlier_run_are_removed(tmp_path, config, written):
    folder = tmp_path / "out" / "a"
    folder.mkdir(parents=True)
    for name in (*OLD, ".overlay.part.mp4", *FOREIGN):
        (folder / name).write_text("from an earlier run\n")
    stage = life(tmp_path, 0, **config)
    stage.process([packet(0), end("a")])
    stage.close()
    videos = {"overlay.mp4"} if config.get("overlay", True) else set()
    assert {path.name for path in folder.iterdir()} == {*written, *videos, *FOREIGN}
    assert not any((folder / name).read_bytes().startswith(b"from an earlier run") for name in (*written, *videos))


def test_error_names_an_earlier_result_that_cannot_be_removed(tmp_path):
    (tmp_path / "out" / "a" / "overlay.3.mp4").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"cannot remove .*overlay\.3\.mp4: Is a directory"):
        life(tmp_path, 0).process([packet(0)])


def test_restarts_keep_the_videos_written_before(tmp_path):
    for attempt in range(3):
        stage = life(tmp_path, attempt)
        stage.process([packet(attempt)])
        stage.close()
    videos = {path.name for path in (tmp_path / "out" / "a").glob("*.mp4")}
    assert videos == {"overlay.mp4", "overlay.2.mp4", "overlay.3.mp4"}
    assert frames(tmp_path, "tracks.jsonl") == [0, 1, 2]


def test_lines_report_tracker_restarts(tmp_path):
    stage = life(tmp_path, 0, overlay=False)
    stage.process([tracked_packet(seq=0), tracked_packet(seq=1, restarts=2)])
    stage.close()
    lines = (tmp_path / "out" / "a" / "tracks.jsonl").read_text().splitlines()
    assert [json.loads(line).get("restarts") for line in lines] == [None, 2]


class InterruptedRow:
    """A journal row that raises after a given number of writes, as if the process were killed there."""

    def __init__(self, row, left):
        self.row, self.left = row, left

    def __getitem__(self, slot):
        return self.row[slot]

    def __setitem__(self, slot, number):
        if not self.left:
            raise InterruptedError
        self.left -= 1
        self.row[slot] = number


@pytest.mark.parametrize("writes", range(8))
def test_counters_are_consistent_wherever_a_crash_interrupts_them(writes):
    row = [0] * 16
    for seq in range(3):
        Counters(row).count(tracked([{"id": 1}], seq=seq), 10)
    try:
        Counters(InterruptedRow(row, writes)).count(tracked([{"id": 1}], seq=5), 20)
    except InterruptedError:
        assert (Counters(row).delivered, Counters(row).next_seq) == (3, 3)
        Counters(row).count(tracked([{"id": 1}], seq=5), 20)  # delivered again
    assert (Counters(row).delivered, Counters(row).next_seq) == (4, 6)
