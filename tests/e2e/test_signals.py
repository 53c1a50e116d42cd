"""Signals and sudden deaths: captured frames are finished, files are complete, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import run_folder
from pipeline.health import client
from pipeline.health.status import RunStatus
from tests.conftest import wait_until
from tests.e2e.harness import (
    FAST,
    LONG,
    PROCESSES,
    ROOT,
    SMALL,
    assert_nothing_left,
    lines,
    record,
    start,
    worker_of,
    workers_of,
)

PLACEMENTS = {"threads": [], "processes": PROCESSES}


def wait_for_lines(out: Path, count: int, run: subprocess.Popen[str], limit_s: float = 60) -> None:
    """Wait until the run has written ``count`` track lines."""
    limit = time.monotonic() + limit_s
    path = out / "demo" / "tracks.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < limit, "no track lines in time"
        time.sleep(0.05)


def record_of_stopped(run: subprocess.Popen[str], out: Path, runtime: Path) -> dict[str, Any]:
    """Wait for a stopped run, check that it printed no error and left nothing; return its record."""
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert errors == ""
    assert_nothing_left(run.pid, runtime)
    done = record(out)
    assert done["sources"]["demo"]["account"]["closes"]
    return done


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_drains_and_leaves_nothing(
    tmp_path: Path, runtime: Path, placement: str, number: signal.Signals
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may themselves run under nohup
    try:
        run = start(LONG, *FAST, *PLACEMENTS[placement], "--out", str(tmp_path), runtime=runtime)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for_lines(tmp_path, 5, run)
    for process in (*workers_of(run.pid), run.pid):  # all of them, as service managers do
        os.kill(process, number)
    done = record_of_stopped(run, tmp_path, runtime)
    account = done["sources"]["demo"]["account"]
    assert done["drained"] is True
    assert account["lost"] == {}
    assert [line["frame"] for line in lines(tmp_path / "demo" / "tracks.jsonl")] == list(range(account["captured"]))
    assert done["sources"]["demo"]["end"] == "stopped"


def test_ignored_hang_up_does_not_end_the_run(tmp_path: Path, runtime: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as set by nohup; inherited by the run
    try:
        run = start(LONG, *FAST, "--out", str(tmp_path), runtime=runtime)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for_lines(tmp_path, 5, run)
    run.send_signal(signal.SIGHUP)
    wait_for_lines(tmp_path, 100, run)
    run.send_signal(signal.SIGTERM)
    record_of_stopped(run, tmp_path, runtime)


@pytest.mark.parametrize("module", ["argparse", "msgspec", "cv2"])
def test_interrupted_while_it_still_imports(tmp_path: Path, module: str) -> None:
    code = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)"
    (tmp_path / f"{module}.py").write_text(code)
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_stream.py"), SMALL],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("placement", ["thread", "process"])
def test_hanging_reader_does_not_delay_the_end(tmp_path: Path, runtime: Path, placement: str) -> None:
    os.mkfifo(tmp_path / "hung.mp4")  # opening it blocks until there is a writer
    run = start(str(tmp_path / "hung.mp4"), *FAST, f"--set=placement.capture={placement}", runtime=runtime)
    asked: list[RunStatus] = []

    def waits() -> bool:
        doors = list(runtime.glob(f"*/{run_folder.STATUS}"))
        if doors and client.get(doors[0], "/healthz")[0] == 200:
            asked.append(client.status(doors[0]))
        return bool(asked) and asked[-1].stages["capture.hung"].state == "running"

    wait_until(waits, 60)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=30)
    assert (run.returncode, errors) == (130, "")
    assert_nothing_left(run.pid, runtime)


def start_and_hold_up(out: Path, runtime: Path, *settings: str) -> tuple[subprocess.Popen[str], int]:
    """Start a run whose detect stage is stopped, so that it cannot drain; return it and the process id of the stage."""
    run = start(LONG, *FAST, *PROCESSES, *settings, "--out", str(out), runtime=runtime)
    wait_for_lines(out, 5, run)
    held = worker_of(run.pid, "detect")
    assert held is not None
    os.kill(held, signal.SIGSTOP)
    return run, held


def check_forced_stop(run: subprocess.Popen[str], out: Path, runtime: Path) -> None:
    """Check that the run ends without draining and that every frame is accounted for."""
    done = record_of_stopped(run, out, runtime)
    account = done["sources"]["demo"]["account"]
    assert (done["drained"], done["restarts"], account["in_flight"]) == (False, {}, 0)
    assert list(account["lost"]) == ["not drained"], "the stopped stage has unfinished frames"
    rest = sum(account["dropped"].values()) + sum(account["lost"].values())
    assert account["captured"] == account["delivered"] + rest
    assert account["delivered"] == len(lines(out / "demo" / "tracks.jsonl"))


def test_second_signal_orders_every_stage_to_exit(tmp_path: Path, runtime: Path) -> None:
    run, held = start_and_hold_up(tmp_path, runtime, "--set=queue.drain_s=600", "--set=supervisor.term_s=600")
    os.kill(run.pid, signal.SIGTERM)
    (door,) = runtime.glob(f"*/{run_folder.STATUS}")
    wait_until(lambda: client.status(door).state == "draining", 60)
    os.kill(run.pid, signal.SIGTERM)
    wait_until(lambda: workers_of(run.pid) == [held], 60)
    os.kill(held, signal.SIGCONT)  # no kill needed: it exits because it was ordered to
    check_forced_stop(run, tmp_path, runtime)


def test_stage_that_neither_drains_nor_exits_is_killed(tmp_path: Path, runtime: Path) -> None:
    run, _ = start_and_hold_up(tmp_path, runtime, "--set=queue.drain_s=1", "--set=supervisor.term_s=0.5")
    os.kill(run.pid, signal.SIGTERM)
    check_forced_stop(run, tmp_path, runtime)


def test_killed_stage_without_restarts_ends_the_run_with_its_name(tmp_path: Path, runtime: Path) -> None:
    settings = ["--set", "placement.track=process", "--set", "supervisor.restarts=0"]
    run = start(LONG, *FAST, *settings, "--out", str(tmp_path), runtime=runtime)
    wait_for_lines(tmp_path, 5, run)
    (victim,) = workers_of(run.pid)
    os.kill(victim, signal.SIGKILL)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 5
    assert errors.count("\n") == 1
    assert "track" in errors
    assert_nothing_left(run.pid, runtime)
    done = record(tmp_path)
    assert done["drained"] is False
    account = done["sources"]["demo"]["account"]
    assert account["closes"]
    assert sum(account["lost"].values()) > 0
    assert len(lines(tmp_path / "demo" / "tracks.jsonl")) == account["delivered"]


def test_stages_die_with_a_killed_supervisor(tmp_path: Path, runtime: Path) -> None:
    run = start(LONG, *FAST, *PROCESSES, "--out", str(tmp_path), runtime=runtime)
    wait_for_lines(tmp_path, 5, run)
    assert len(workers_of(run.pid)) == 5
    run.kill()
    run.communicate(timeout=30)
    limit = time.monotonic() + 10
    while workers_of(run.pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert workers_of(run.pid) == []
    again = start("test://demo?width=64&height=64&frames=2", *FAST, runtime=runtime)
    assert again.wait(60) == 0
    again.communicate()
    assert list(runtime.iterdir()) == [], "the next run removes the folder of the killed one"
