"""Stages that are killed, stopped or die at once: losses are counted, no duplicates, no leftovers."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import wait_until
from tests.e2e.harness import FAST, PROCESSES, STAGES, assert_nothing_left, lines, record, start, worker_of

QUICK = ["--set", "supervisor.backoff_s=0.1"]
FRAMES = 80
SCENE = f"test://demo?width=64&height=64&frames={FRAMES}"
CREDITS = 2


def named(stage: str) -> str:
    return "capture.demo" if stage == "capture" else stage


def written(out: Path) -> int:
    path = out / "demo" / "tracks.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_lines(out: Path, count: int, run: subprocess.Popen[str]) -> None:
    def there() -> bool:
        assert run.poll() is None, run.communicate()
        return written(out) >= count

    wait_until(there, 120)


def finish(run: subprocess.Popen[str]) -> str:
    """Wait until the run ends by itself; return its standard error."""
    _, errors = run.communicate(timeout=200)
    return errors


def check_accounts(out: Path, captured: int | None = FRAMES) -> dict[str, Any]:
    """Check that the account closes in spite of deaths and that the files agree with it; return the record."""
    done = record(out)
    account = done["sources"]["demo"]["account"]
    frames = [line["frame"] for line in lines(out / "demo" / "tracks.jsonl")]
    assert frames == [line["frame"] for line in lines(out / "demo" / "detections.jsonl")]
    assert frames == sorted(set(frames)), "in order and without duplicates"
    assert done["drained"] is True
    assert account["closes"]
    assert account["in_flight"] == 0
    assert account["delivered"] == len(frames)
    assert set(account["lost"]) <= {"crash"}
    lost, dropped = sum(account["lost"].values()), sum(account["dropped"].values())
    assert account["delivered"] + lost + dropped == account["captured"]
    if captured is not None:
        assert account["captured"] == captured
    rows = [int(row.split(",")[0]) for row in (out / "demo" / "tracks.mot.txt").read_text().splitlines()]
    assert rows == sorted(rows)
    return done


def kill(run: subprocess.Popen[str], stage: str) -> None:
    victim = worker_of(run.pid, named(stage))
    assert victim is not None
    os.kill(victim, signal.SIGKILL)


def test_stages_of_one_lane_die_and_no_frame_is_lost(tmp_path: Path, runtime: Path) -> None:
    other = f"test://sky?width=64&height=64&frames={FRAMES}"
    settings = ["--set=placement.lanes=2", "--set=detect.threads=1", "--set=sinks.overlay=false"]
    run = start(SCENE, other, *PROCESSES, *settings, *QUICK, "--out", str(tmp_path), runtime=runtime)
    wait_for_lines(tmp_path, 5, run)
    for stage in ("detect.1", "track.0"):
        kill(run, stage)
    errors = finish(run)
    done = check_accounts(tmp_path)
    assert run.returncode == 0, errors
    assert {name: len(causes) for name, causes in done["restarts"].items()} == {"detect.1": 1, "track.0": 1}
    assert [source["account"]["delivered"] for source in done["sources"].values()] == [FRAMES, FRAMES]
    assert_nothing_left(run.pid, runtime)


def kill_in_turn(
    run: subprocess.Popen[str], stages: Sequence[str], out: Path, runtime: Path
) -> tuple[str, dict[str, Any]]:
    """Kill one stage after the other, ten frames apart; return standard error and the record of the run."""
    for i, stage in enumerate(stages):
        wait_for_lines(out, 10 * i + 5, run)
        kill(run, stage)
    errors = finish(run)
    assert run.returncode == 0, errors
    assert_nothing_left(run.pid, runtime)
    done = check_accounts(out)
    assert set(done["restarts"]) == set(map(named, stages))
    return errors, done


@pytest.mark.parametrize("stage", STAGES)
def test_killed_stage_is_replaced_and_no_frame_is_missing(tmp_path: Path, runtime: Path, stage: str) -> None:
    run = start(SCENE, *FAST, *PROCESSES, *QUICK, "--out", str(tmp_path), runtime=runtime)
    wait_for_lines(tmp_path, 5, run)
    kill(run, stage)
    errors = finish(run)
    assert run.returncode == 0, errors
    assert errors.count("\n") == 1, errors
    assert f"warning: stage {named(stage)} died (killed by SIGKILL)" in errors
    assert_nothing_left(run.pid, runtime)
    done = check_accounts(tmp_path)
    assert done["restarts"] == {named(stage): ["killed by SIGKILL"]}
    assert done["sources"]["demo"]["account"]["lost"] == {}, "every frame was also held by another stage"
    assert done["sources"]["demo"]["end"] == "finished"
    noted = [line.get("restarts", 0) for line in lines(tmp_path / "demo" / "tracks.jsonl")]
    assert noted == sorted(noted)
    assert noted[-1] == (1 if stage == "track" else 0)


def test_the_polarity_of_a_switched_camera_outlives_preprocess(tmp_path: Path, runtime: Path) -> None:
    world = 80 + 100 * cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (128, 400)), (0, 0), 4)
    (tmp_path / "demo").mkdir()
    for k in range(200):
        target = np.zeros((128, 160))
        target[40 + k // 4, 30 + k // 2] = 1000
        picture = (world[:, k : k + 160] + cv2.GaussianBlur(target, (0, 0), 1.2)).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "demo" / f"{k:03}.png"), ~picture if k >= 10 else picture)
    out = tmp_path / "out"
    run = start(str(tmp_path / "demo"), *FAST, *PROCESSES, *QUICK, "--out", str(out), runtime=runtime)
    wait_for_lines(out, 100, run)  # the new polarity has been reported by then
    kill(run, "preprocess")
    errors = finish(run)
    assert run.returncode == 0, errors
    assert set(record(out)["restarts"]) == {"preprocess"}
    tracked = [sum(t["state"] == "confirmed" for t in line["tracks"]) for line in lines(out / "demo" / "tracks.jsonl")]
    assert min(tracked[20:100]) > 0
    assert min(tracked[-20:]) > 0


def test_all_stages_killed_in_turn_over_tcp(tmp_path: Path, runtime: Path) -> None:
    settings = ["--set", "queue.transport=tcp", "--set", "sinks.overlay=true", "--set", "detect.threads=1"]
    run = start(SCENE, *settings, *PROCESSES, *QUICK, "--out", str(tmp_path), runtime=runtime)
    errors, done = kill_in_turn(run, STAGES[::-1], tmp_path, runtime)
    assert len(errors.splitlines()) == sum(map(len, done["restarts"].values()))
    assert sum(done["sources"]["demo"]["account"]["lost"].values()) <= 2 * CREDITS * len(STAGES)
    video = cv2.VideoCapture(str(tmp_path / "demo" / "overlay.2.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) > 0


def test_deaths_lose_no_picture_in_shared_memory(tmp_path: Path, runtime: Path) -> None:
    large = f"test://demo?width=512&height=256&frames={FRAMES}"  # 16 bit: just large enough
    run = start(large, *FAST, "--set=detect.weights=edge", *PROCESSES, *QUICK, "--out", str(tmp_path), runtime=runtime)
    _, done = kill_in_turn(run, ("detect", "preprocess", "capture"), tmp_path, runtime)
    assert done["sources"]["demo"]["account"]["lost"] == {}


def test_two_neighbours_killed_at_once_lose_at_most_the_frames_between_them(tmp_path: Path, runtime: Path) -> None:
    pair = ("detect", "track")
    run = start(SCENE, *FAST, *PROCESSES, *QUICK, "--out", str(tmp_path), runtime=runtime)
    wait_for_lines(tmp_path, 5, run)
    for stage in pair:
        kill(run, stage)
    errors = finish(run)
    assert run.returncode == 0, errors
    assert_nothing_left(run.pid, runtime)
    done = check_accounts(tmp_path)
    assert set(done["restarts"]) == set(map(named, pair))
    assert sum(done["sources"]["demo"]["account"]["lost"].values()) <= 2 * CREDITS


def test_stage_killed_at_the_very_end_does_not_hold_up_the_run(tmp_path: Path, runtime: Path) -> None:
    run = start(SCENE, *FAST, *PROCESSES, *QUICK, "--out", str(tmp_path), runtime=runtime)
    wait_until(lambda: written(tmp_path) == FRAMES, 120, lambda: None)
    for stage in STAGES[:4]:  # some of them may have exited by now
        victim = worker_of(run.pid, named(stage))
        if victim is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
    errors = finish(run)
    assert run.returncode == 0, errors
    assert_nothing_left(run.pid, runtime)
    assert check_accounts(tmp_path)["sources"]["demo"]["account"]["lost"] == {}


def asked_to_leave(pid: int) -> bool:
    """Whether SIGTERM is pending for a process that is stopped."""
    (mask,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("ShdPnd:")]
    return bool(int(mask.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("stage", ["capture", "sinks"])
def test_stuck_stage_that_resumes_exits_cleanly_and_is_restarted(tmp_path: Path, runtime: Path, stage: str) -> None:
    settings = ["--set", f"supervisor.stuck_s.{stage}=3", "--set", "supervisor.term_s=100"]
    video = ["--set", "sinks.overlay=true"]
    run = start(SCENE, *FAST, *video, *PROCESSES, *QUICK, *settings, "--out", str(tmp_path), runtime=runtime)
    wait_for_lines(tmp_path, 5, run)
    victim = worker_of(run.pid, named(stage))
    assert victim is not None
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: asked_to_leave(victim), 60)
    os.kill(victim, signal.SIGCONT)
    errors = finish(run)
    assert run.returncode == 0, errors
    assert f"stage {named(stage)} died (no heartbeat for 3 s, killed by SIGTERM)" in errors
    assert_nothing_left(run.pid, runtime)
    done = check_accounts(tmp_path)
    assert done["restarts"][named(stage)][0] == "no heartbeat for 3 s, killed by SIGTERM"
    assert done["sources"]["demo"]["account"]["lost"] == {}
    videos = [cv2.VideoCapture(str(path)) for path in (tmp_path / "demo").glob("overlay*.mp4")]
    assert len(videos) == len(done["restarts"].get("sinks", ())) + 1
    assert sum(video.get(cv2.CAP_PROP_FRAME_COUNT) for video in videos) == FRAMES, "every file was completed"


def test_stage_that_cannot_be_started_for_a_while_is_started_later(tmp_path: Path, runtime: Path) -> None:
    run = start(SCENE, *FAST, *PROCESSES, *QUICK, "--out", str(tmp_path), runtime=runtime)
    wait_for_lines(tmp_path, 5, run)
    limits = resource.prlimit(run.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(run.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    kill(run, "track")
    assert run.stderr is not None
    first, second = run.stderr.readline(), run.stderr.readline()
    resource.prlimit(run.pid, resource.RLIMIT_NOFILE, limits)
    assert "stage track died (killed by SIGKILL)" in first
    assert "stage track died (cannot be started: Too many open files)" in second
    errors = finish(run)
    assert run.returncode == 0, errors
    assert_nothing_left(run.pid, runtime)
    assert len(check_accounts(tmp_path)["restarts"]["track"]) >= 2


def test_stopped_stage_is_noticed_and_replaced(tmp_path: Path, runtime: Path) -> None:
    settings = ["--set", "supervisor.stuck_s.track=3", "--set", "supervisor.term_s=1"]
    run = start(SCENE, *FAST, *PROCESSES, *QUICK, *settings, "--out", str(tmp_path), runtime=runtime)
    wait_for_lines(tmp_path, 5, run)
    victim = worker_of(run.pid, "track")
    assert victim is not None
    os.kill(victim, signal.SIGSTOP)
    errors = finish(run)
    assert run.returncode == 0, errors
    assert "stage track died (no heartbeat for 3 s, killed by SIGKILL)" in errors
    assert_nothing_left(run.pid, runtime)
    done = check_accounts(tmp_path)
    assert done["restarts"]["track"][0] == "no heartbeat for 3 s, killed by SIGKILL"
    assert done["sources"]["demo"]["account"]["lost"] == {}


def test_stage_that_dies_every_time_ends_the_run(tmp_path: Path, runtime: Path) -> None:
    settings = ["--set", "supervisor.restarts=2", "--set", "queue.drain_s=5"]
    run = start(SCENE, *FAST, *PROCESSES, *QUICK, *settings, "--out", str(tmp_path), runtime=runtime)
    wait_for_lines(tmp_path, 5, run)

    def kill_it_whenever_it_is_there() -> bool:
        victim = worker_of(run.pid, "detect")
        if victim is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        return run.poll() is not None

    wait_until(kill_it_whenever_it_is_there, 120)
    errors = finish(run).splitlines()
    assert run.returncode == 5, errors
    assert [("warning" in line, "stage detect died" in line) for line in errors] == [
        (True, True), (True, True), (False, True),
    ]  # fmt: skip
    assert "2 restarts did not help" in errors[-1]
    assert_nothing_left(run.pid, runtime)
    done = record(tmp_path)
    account = done["sources"]["demo"]["account"]
    assert (done["drained"], account["closes"]) == (False, True)
    assert account["delivered"] == len(lines(tmp_path / "demo" / "tracks.jsonl")) >= 5
    assert account["lost"] == {"not drained": account["captured"] - account["delivered"]}
    assert done["restarts"] == {"detect": ["killed by SIGKILL"] * 2}


def test_stage_that_reports_an_error_is_not_restarted(tmp_path: Path, runtime: Path) -> None:
    settings = ["--set", "detect.weights=no-such-weights"]
    run = start(SCENE, *FAST, *PROCESSES, *settings, "--out", str(tmp_path), runtime=runtime)
    errors = finish(run)
    assert run.returncode == 4, errors
    assert "warning" not in errors
    assert_nothing_left(run.pid, runtime)
    assert record(tmp_path)["restarts"] == {}


@pytest.mark.parametrize("stage", ["capture", "preprocess"])
def test_live_source_continues_after_a_death(tmp_path: Path, runtime: Path, stage: str) -> None:
    scene = "test://demo?width=64&height=64&frames=20000&fps=25&live=1"
    settings = ["--set", "queue.staleness_s=2"]
    run = start(scene, *FAST, *PROCESSES, *QUICK, *settings, "--out", str(tmp_path), runtime=runtime)
    wait_for_lines(tmp_path, 5, run)
    kill(run, stage)
    wait_until(lambda: worker_of(run.pid, named(stage)), 60)
    wait_for_lines(tmp_path, written(tmp_path) + 60, run)
    os.kill(run.pid, signal.SIGINT)
    errors = finish(run)
    assert run.returncode == 130, errors
    assert_nothing_left(run.pid, runtime)
    done = check_accounts(tmp_path, None)
    assert set(done["restarts"]) == {named(stage)}
    times = [line["pts"] for line in lines(tmp_path / "demo" / "tracks.jsonl")]
    assert times == sorted(times)
    if stage == "capture":
        assert max(b - a for a, b in pairwise(times)) > 1, "the timestamps show the gap"
