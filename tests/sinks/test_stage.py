from __future__ import annotations

import json
import os

import numpy as np
import pytest

from pipeline.errors import ConfigError, StageError
from pipeline.messages import COASTING, CONFIRMED, TENTATIVE, Packet, Prepared, Stamp
from pipeline.sinks.config import SinkConfig
from pipeline.sinks.overlay import STRIP
from pipeline.sinks.stage import SinkStage
from tests.messages import end, tracked, tracked_packet
from tests.sinks.files import descriptors, read_video

MS = 1_000_000
NAMES = {"tracks.jsonl", "detections.jsonl", "tracks.mot.txt", "overlay.mp4"}


class Clock:
    """A clock that advances by ten milliseconds per call."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        self.now += 10 * MS
        return self.now


def opened(out, **config):
    stage = SinkStage(SinkConfig(**config), out, clock=Clock())
    stage.open()
    return stage


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_files_of_two_sources_hold_all_their_frames(tmp_path):
    stage = opened(tmp_path / "deep" / "out")
    for i in range(12):
        assert list(stage.process([tracked_packet([{"id": 1}], [{"x": 5.0}], source="a", seq=i)])) == []
        stage.process([tracked_packet(source="b", seq=i, shape=(33, 47), dtype="uint16")])
    stage.process([end("a"), end("b")])
    stage.close()
    for source, tracks in (("a", 1), ("b", 0)):
        folder = tmp_path / "deep" / "out" / source
        assert {p.name for p in folder.iterdir()} == NAMES
        assert [(r["source"], r["frame"], len(r["tracks"])) for r in lines(folder / "tracks.jsonl")] == [
            (source, i, tracks) for i in range(12)
        ]
        assert [len(r["detections"]) for r in lines(folder / "detections.jsonl")] == [tracks] * 12
        assert len((folder / "tracks.mot.txt").read_text().splitlines()) == 12 * tracks
        assert len(read_video(folder / "overlay.mp4")[0]) == 12


def test_lines_are_on_disk_before_the_next_frame_comes(tmp_path):
    stage = opened(tmp_path)
    for i in range(3):
        stage.process([tracked_packet(seq=i)])
        assert len(lines(tmp_path / "a" / "tracks.jsonl")) == i + 1
    stage.close()


def test_a_source_without_frames_leaves_earlier_results_alone(tmp_path):
    stage = opened(tmp_path)
    stage.process([tracked_packet(), end()])
    stage.close()
    before = {path: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert {path.name for path in before} == NAMES
    stage = opened(tmp_path)
    stage.process([end("a", reason="failed", error="no such file")])
    stage.close()
    assert {path: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    report = stage.reports()["a"]
    assert (report.delivered, report.end, report.error) == (0, "failed", "no such file")


def test_only_enabled_files_are_written(tmp_path):
    for config, expected in (
        ({"overlay": False, "mot": False}, {"tracks.jsonl", "detections.jsonl"}),
        ({"jsonl": False, "overlay": False}, {"tracks.mot.txt"}),
        ({"jsonl": False, "mot": False}, {"overlay.mp4"}),
    ):
        out = tmp_path / "-".join(config)
        stage = opened(out, **config)
        stage.process([tracked_packet()])
        stage.close()
        assert {p.name for p in (out / "a").iterdir()} == expected


@pytest.mark.parametrize(("scale", "size"), [(1, (80, 64)), (3, (240, 192)), (None, (320, 256))])
def test_the_overlay_is_as_large_as_the_scale_says(tmp_path, scale, size):
    stage = opened(tmp_path, overlay_scale=scale, jsonl=False, mot=False)
    stage.process([tracked_packet(), end()])
    (frame,), _ = read_video(tmp_path / "a" / "overlay.mp4")
    width, height = size
    assert frame.shape == (height + STRIP, width, 3)


@pytest.mark.parametrize(("trail_s", "length"), [(0.0, 0), (0.42, 10 * 6), (60.0, 30 * 6)])
def test_trail_covers_the_configured_time(tmp_path, trail_s, length):
    stage = opened(tmp_path, overlay_scale=2, trail_s=trail_s, jsonl=False, mot=False)
    x = [20.0 + 6 * i for i in range(31)]  # 25 frames/s
    for i in range(31):
        stage.process([tracked_packet([{"id": 1, "x": x[i], "y": 32.0}], seq=i, shape=(64, 240))])
    stage.process([end()])
    frames, _ = read_video(tmp_path / "a" / "overlay.mp4")
    coloured = np.ptp(frames[-1][:-STRIP].astype(int), axis=2) > 20
    mark = 9  # half side of the mark in px, which is leftmost if there is no trail
    assert np.nonzero(coloured)[1].min() == pytest.approx(min(2 * (x[-1] - length), 2 * x[-1] - mark), abs=4)


def test_without_a_folder_only_counters_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage = opened(None)
    stage.process([tracked_packet(), end()])
    stage.close()
    assert list(tmp_path.iterdir()) == []
    assert stage.reports()["a"].delivered == 1


def test_report_matches_expected_values(tmp_path):
    stage = opened(tmp_path, overlay=False)
    states = [
        [(1, TENTATIVE), (2, TENTATIVE)],
        [(1, CONFIRMED), (2, TENTATIVE)],
        [(1, COASTING), (3, CONFIRMED)],
        [(1, CONFIRMED)],
    ]
    for i, tracks in enumerate(states):
        # Delivered at 10, 20, 30, 40 ms; captured 5 ms before; left the detect stage 3 ms after capture.
        captured = (10 * (i + 1) - 5) * MS
        stamps = (Stamp(stage="detect", enter_ns=captured + MS, leave_ns=captured + 3 * MS),)
        rows = [{"id": id_, "state": state} for id_, state in tracks]
        stage.process([tracked_packet(rows, seq=i, capture_mono_ns=captured, stamps=stamps)])
    stage.process([end()])
    report = stage.reports()["a"]
    assert report.delivered == 4
    assert report.tracks_confirmed == 2
    assert report.fps == pytest.approx(3 / 0.030, abs=0.01)
    assert report.latency["detect"].p50 == pytest.approx(3, rel=0.01)
    assert report.latency["total"].p99 == pytest.approx(5, rel=0.01)
    assert report.latency["total"].count == 4
    assert report.end == "finished"


def test_close_completes_the_files_of_sources_that_have_not_ended(tmp_path):
    stage = opened(tmp_path)
    for i in range(3):
        stage.process([tracked_packet(seq=i)])
    stage.close()
    assert len(read_video(tmp_path / "a" / "overlay.mp4")[0]) == 3


def test_descriptors_of_ended_sources_are_released(tmp_path):
    stage = opened(tmp_path)
    before = len(descriptors())
    for i in range(10):
        stage.process([tracked_packet(source=f"s{i}"), end(f"s{i}")])
    assert len(descriptors()) == before


@pytest.mark.parametrize("out", ["/proc/nothing", "/dev/null/out", "file/out"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=out) as caught:
        opened(type(tmp_path)(out))
    assert "\n" not in str(caught.value)


def test_a_folder_that_turns_into_a_link_elsewhere_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    stage = opened(tmp_path / "out")
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="outside"):
        stage.process([tracked_packet()])
    stage.close()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_disk_that_fills_up_fails_the_stage_and_keeps_the_lines_before(tmp_path):
    stage = opened(tmp_path, overlay=False, mot=False)
    stage.process([tracked_packet(seq=0)])
    full = os.open("/dev/full", os.O_WRONLY)
    numbers = {path: number for number, path in descriptors().items()}
    os.dup2(full, numbers[str(tmp_path / "a" / "detections.jsonl")])
    os.close(full)
    with pytest.raises(StageError, match=r"detections\.jsonl: No space left on device"):
        stage.process([tracked_packet(seq=1)])
    assert len(lines(tmp_path / "a" / "detections.jsonl")) == 1


def test_failing_source_does_not_prevent_completion_of_others(tmp_path):
    stage = opened(tmp_path, jsonl=False, mot=False)
    for i in range(8):
        for source in ("a", "b", "c"):
            stage.process([tracked_packet(source=source, seq=i)])
    (tmp_path / "b" / ".overlay.part.mp4").unlink()
    with pytest.raises(StageError, match=r"b/overlay\.mp4"):
        stage.close()
    assert [len(read_video(tmp_path / source / "overlay.mp4")[0]) for source in ("a", "c")] == [8, 8]


def test_unexpected_messages_are_refused(tmp_path):
    stage = opened(tmp_path)
    message = tracked()
    with pytest.raises(TypeError, match="Tracked"):
        stage.process([Packet(message, None)])
    prepared = Prepared(header=message.header, intensity={"mean": 0, "gain": 1, "clip": 1}, ego=message.ego)
    with pytest.raises(TypeError, match="Prepared"):
        stage.process([Packet(prepared, np.zeros((64, 80), np.uint8))])
    stage.close()
