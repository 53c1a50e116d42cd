"""Stages that are killed, stopped or die at once: what is lost is counted, nothing comes twice, nothing survives."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.e2e.harness import FAST, assert_nothing_left, lines, record, start, worker_of

STAGES = ("capture", "preprocess", "detect", "track", "sinks")
PROCESSES = [f"--set=placement.{stage}=process" for stage in STAGES]
QUICK = ["--set", "supervisor.backoff_s=0.1"]
FRAMES = 150
SCENE = f"test://demo?width=96&height=64&frames={FRAMES}"


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
    """Standard error of the run, which ends by itself."""
    _, errors = run.communicate(timeout=200)
    return errors


def check_books(out: Path, captured: int | None = FRAMES) -> dict[str, Any]:
    """What holds after every run with deaths: the account closes over them, and the files agree with it."""
    done = record(out)
    account = done["sources"]["demo"]["account"]
    frames = [line["frame"] for line in lines(out / "demo" / "tracks.jsonl")]
    assert frames == [line["frame"] for line in lines(out / "demo" / "detections.jsonl")]
    assert frames == sorted(set(frames)), "in order, and none twice"
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


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
@pytest.mark.parametrize("stage", STAGES)
def test_killed_stage_is_replaced_and_no_frame_is_missing(
    tmp_path: Path, runtime: Path, stage: str, transport: str
) -> None:
    args = [SCENE, *FAST, *PROCESSES, *QUICK, "--set", f"queue.transport={transport}", "--out", str(tmp_path)]
    run = start(*args, runtime=runtime)
    wait_for_lines(tmp_path, 5, run)
    victim = worker_of(run.pid, named(stage))
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    errors = finish(run)
    assert run.returncode == 0, errors
    assert errors.count("\n") == 1, errors
    assert f"warning: stage {named(stage)} died (killed by SIGKILL)" in errors
    assert_nothing_left(run.pid, runtime)
    done = check_books(tmp_path)
    assert done["restarts"] == {named(stage): ["killed by SIGKILL"]}
    assert done["sources"]["demo"]["account"]["lost"] == {}, "whatever one stage had, another had as well"
    assert done["sources"]["demo"]["end"] == "finished"
    noted = [line.get("restarts", 0) for line in lines(tmp_path / "demo" / "tracks.jsonl")]
    assert noted == sorted(noted)
    assert noted[-1] == (1 if stage == "track" else 0)
