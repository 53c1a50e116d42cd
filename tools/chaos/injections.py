"""Fault injections: functions that disturb a run in progress.

If the run is meant to survive, they also wait for its recovery, which records the recovery time.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from pipeline.receiver import HEARTBEAT_TIMEOUT_MS
from tools.chaos import intruder
from tools.chaos.camera import Camera
from tools.chaos.run import Run
from tools.chaos.wall_clock import WallClock
from tools.chaos.wedge import Wedge

Injection = Callable[[Run], None]
FREEZE_S = 5.0
LONG_FREEZE_S = 2e-3 * HEARTBEAT_TIMEOUT_MS
OUTAGE_S = 4.0
LIVE_S = 6.0
OTHER_SIZE = (240, 160)
DAY_S = 86_400


def kill(*stages: str) -> Injection:
    """Kill some stages at once with SIGKILL."""

    def inject(run: Run) -> None:
        before, since = {run.named(stage): run.pid(stage) for stage in stages}, time.monotonic()
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        run.recovered(since, before)

    return inject


def freeze(stage: str, seconds: float = FREEZE_S) -> Injection:
    """Freeze a stage with SIGSTOP and resume it with SIGCONT after so many seconds."""

    def inject(run: Run) -> None:
        since, pid = time.monotonic(), run.send(stage, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
        run.recovered(since, {})

    return inject


def hang(stage: str) -> Injection:
    """Freeze a stage with SIGSTOP for good."""

    def inject(run: Run) -> None:
        since = time.monotonic()
        run.recovered(since, {run.named(stage): run.send(stage, signal.SIGSTOP)})

    return inject


def hang_until_asked(stage: str) -> Injection:
    """Freeze a stage with SIGSTOP until SIGTERM is pending, then resume it, as if one frame had taken too long."""

    def inject(run: Run) -> None:
        since, pid = time.monotonic(), run.send(stage, signal.SIGSTOP)
        run.wait(lambda: _waits_for(pid, signal.SIGTERM), f"{stage} is asked to leave")
        os.kill(pid, signal.SIGCONT)
        run.recovered(since, {run.named(stage): pid})

    return inject


def wedge(stage: str) -> Injection:
    """Make a stage hang in C code."""

    def inject(run: Run) -> None:
        assert isinstance(run.tool, Wedge), "this injection needs a run with a Wedge"
        since, pid = time.monotonic(), run.pid(stage)
        run.tool.hold(pid)
        run.recovered(since, {run.named(stage): pid})

    return inject


def kill_supervisor(run: Run) -> None:
    """Kill only the main process with SIGKILL."""
    run.process.kill()


def kill_everything(run: Run) -> None:
    """Kill all processes of the run at once with SIGKILL."""
    for process in run.members():
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def terminate(run: Run) -> None:
    """Send SIGTERM to the main process, as the ``kill`` command does."""
    run.stop()


def terminate_twice(run: Run) -> None:
    """Send SIGTERM twice without waiting for the end."""
    run.stop()
    time.sleep(0.3)
    run.stop()


def terminate_everything(run: Run) -> None:
    """Send SIGTERM to all processes at once, as service managers do."""
    for process in run.members():
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def terminate_in_pause(run: Run) -> None:
    """Send SIGTERM while a killed stage waits for its restart."""
    run.send("detect", signal.SIGKILL)
    run.wait(lambda: "detect" not in run.pids(), "detect is gone")
    run.stop()


def terminate_in_start(run: Run) -> None:
    """Send SIGTERM while a restarted stage loads its weights."""
    old = run.send("detect", signal.SIGKILL)
    run.wait(lambda: run.pids().get("detect", old) != old, "detect is restarted")
    run.stop()


def intrude(run: Run) -> None:
    """Send invalid messages to every socket of the graph."""
    for endpoint in intruder.endpoints(run.process.pid, run.runtime):
        since = time.monotonic()
        intruder.talk(endpoint, run.sources[0])
        run.recovered(since, {})


def fill_disk(run: Run) -> None:
    """Fill the disk of the output folder."""
    with suppress(OSError), (run.out.parent / "ballast").open("wb", buffering=0) as file:
        for _ in count():
            file.write(bytes(4096))


def nothing(run: Run) -> None:
    """Do nothing: the fault is in the environment of the run."""


def wait(run: Run) -> None:
    """Only wait: the fault is in the source."""
    time.sleep(LIVE_S)
    run.wait_for_lines(1)


def step_clock(run: Run) -> None:
    """Move the wall clock a day ahead, then two days back."""
    assert isinstance(run.tool, WallClock), "this injection needs a run with a WallClock"
    for days in (1, -1):
        run.tool.set(days * DAY_S)
        run.wait_for_lines(5)


def lose_camera(run: Run) -> None:
    """Shut down the camera's server and start it again."""
    camera, since = _camera(run), time.monotonic()
    camera.go_down()
    time.sleep(OUTAGE_S)
    camera.go_up()
    run.recovered(since, {})


def garble_camera(run: Run) -> None:
    """Let the camera send noise for a while."""
    _disturb(run, "garbage")


def stall_camera(run: Run) -> None:
    """Let the camera send nothing for a while, with the connection open."""
    _disturb(run, "stall")


def resize_camera(run: Run) -> None:
    """Continue the stream in another size; the decoder scales it to the first size, and the run must continue."""
    camera, since = _camera(run), time.monotonic()
    camera.play(OTHER_SIZE)
    time.sleep(OUTAGE_S)
    run.recovered(since, {})
    run.wait_for_lines(5)


def _waits_for(pid: int, number: signal.Signals) -> bool:
    """Return whether a signal is pending for a process."""
    words = Path(f"/proc/{pid}/status").read_text().split()
    return bool(int(words[words.index("ShdPnd:") + 1], 16) >> (number - 1) & 1)


def _disturb(run: Run, mode: str) -> None:
    camera, since = _camera(run), time.monotonic()
    camera.mode = mode  # type: ignore[assignment]
    time.sleep(OUTAGE_S)
    camera.mode = "play"
    run.recovered(since, {})


def _camera(run: Run) -> Camera:
    assert run.camera is not None, "this injection needs a live source"
    return run.camera
