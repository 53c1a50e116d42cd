"""A local camera through the whole pipeline: tracking, unplugging, reconnecting, silence, missing device."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.capture.v4l2 import DEVICE, Camera, target_x
from tests.conftest import wait_until
from tests.e2e.harness import FAST, assert_nothing_left, lines, record, run_program, start

QUICK = ["--set=capture.reconnect.initial_s=0.1", "--set=capture.reconnect.max_s=0.3"]


def plugged(folder: Path, monkeypatch: pytest.MonkeyPatch, *formats: str) -> Camera:
    """Provide a camera to all processes that the test starts from now on."""
    camera = Camera(folder, *formats)
    for name, value in camera.environment.items():
        monkeypatch.setenv(name, value)
    return camera


def wait_for(run: subprocess.Popen[str], out: Path, count: int, what: bytes = b"\n") -> None:
    """Wait until a file contains ``count`` lines, or other byte sequences."""

    def there() -> bool:
        assert run.poll() is None, run.communicate()
        return out.exists() and out.read_bytes().count(what) >= count

    wait_until(there, 90)


def interrupt(run: subprocess.Popen[str], runtime: Path, out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Stop the run and check that nothing is left. Return the record of its only source and its track lines."""
    os.kill(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert_nothing_left(run.pid, runtime)
    ((name, source),) = record(out)["sources"].items()
    tracks = lines(out / name / "tracks.jsonl")
    account = source["account"]
    assert record(out)["drained"] is True
    assert account["closes"]
    assert len(tracks) == account["delivered"] == account["captured"] - sum(account["dropped"].values())
    assert all(b["pts"] > a["pts"] and b["frame"] > a["frame"] for a, b in pairwise(tracks))
    return source, tracks


def test_target_of_a_16_bit_camera_is_tracked_until_it_is_unplugged(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = plugged(tmp_path, monkeypatch, "YUYV", "Y16")
    # On a busy machine frames may be late, which must not end the track.
    patient = ["--set=track.max_coast_s=5", "--set=queue.staleness_s=5"]
    run = start(DEVICE, *FAST, *QUICK, *patient, "--out", str(tmp_path / "out"), runtime=runtime)
    wait_for(run, tmp_path / "out" / "video77" / "tracks.jsonl", 10, b'"confirmed"')
    camera.unplug()
    wait_until(lambda: camera.control.missed > 0)
    source, found = interrupt(run, runtime, tmp_path / "out")
    assert source["address"] == DEVICE
    assert camera.control.format.to_bytes(4, "little") == b"Y16 "
    confirmed = [(line["frame"], track) for line in found for track in line["tracks"] if track["state"] == "confirmed"]
    assert len(confirmed) >= 10
    assert {track["id"] for _, track in confirmed} == {confirmed[0][1]["id"]}, "one target, one track"
    for frame, track in confirmed:
        # OpenCV skips the first picture of a camera.
        assert target_x(frame + 1) - 1 < track["x"] < target_x(frame + 1 + camera.control.lost) + 1
        assert track["y"] == pytest.approx(40, abs=1)


def test_8_bit_camera_by_index_is_lost_and_found_and_falls_silent(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = plugged(tmp_path, monkeypatch, "YUYV")
    run = start("77", *FAST, *QUICK, "--out", str(tmp_path / "out"), runtime=runtime)
    tracks = tmp_path / "out" / "camera77" / "tracks.jsonl"
    wait_for(run, tracks, 5)
    camera.unplug()
    wait_until(lambda: camera.control.missed > 1)
    before = tracks.read_bytes().count(b"\n")
    camera.plug()
    wait_for(run, tracks, before + 5)
    camera.control.silent = 1
    interrupt(run, runtime, tmp_path / "out")


def test_camera_whose_driver_hangs_is_captured_by_a_new_process(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = plugged(tmp_path, monkeypatch, "YUYV")
    limits = ["--set=capture.read_timeout_s=0.5", "--set=supervisor.stuck_s.capture=2", "--set=supervisor.backoff_s=3"]
    run = start(DEVICE, *FAST, *QUICK, *limits, "--out", str(tmp_path / "out"), runtime=runtime)
    tracks = tmp_path / "out" / "video77" / "tracks.jsonl"
    wait_for(run, tracks, 5)
    camera.control.hanging = 1
    assert run.stderr is not None
    with selectors.DefaultSelector() as readable:
        readable.register(run.stderr, selectors.EVENT_READ)
        assert readable.select(60), "nothing was noticed"
    cause = "no heartbeat for 2 s, killed by SIGTERM"
    restarted = f"stage capture.video77 died ({cause}) and is restarted, 1 of 5 times within 60 s\n"
    assert run.stderr.readline() == f"run_stream.py: warning: {restarted}"
    camera.control.hanging = 0
    before = tracks.read_bytes().count(b"\n")
    wait_for(run, tracks, before + 5)
    os.kill(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert_nothing_left(run.pid, runtime)
    account = record(tmp_path / "out")["sources"]["video77"]["account"]
    assert account["closes"]
    assert set(account["lost"]) <= {"crash"}


def test_missing_camera_is_reported_in_one_line(runtime: Path) -> None:
    done = run_program("76", runtime=runtime)
    assert (done.returncode, done.stderr) == (3, "run_stream.py: error: /dev/video76: no such camera\n")
    assert_nothing_left(0, runtime)
