"""Helpers to start ``run_stream.py`` and to check what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SMALL = "test://demo?width=96&height=64&frames=12"
LONG = "test://demo?width=96&height=64&frames=20000"
STAGES = ("capture", "preprocess", "detect", "track", "sinks")
PROCESSES = [f"--set=placement.{stage}=process" for stage in STAGES]
FAST = ["--set=sinks.overlay=false", "--set=detect.threads=1", "--set=placement.detect=thread"]

_started: list[subprocess.Popen[str]] = []


def run_environment(runtime: Path) -> dict[str, str]:
    """Return the environment of a run whose sockets are below ``runtime``."""
    return {**os.environ, "TMPDIR": str(runtime)}


def run_program(*args: str, runtime: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run ``run_stream.py`` to its end, with its sockets below ``runtime``."""
    command = [sys.executable, str(ROOT / "run_stream.py"), *args]
    return subprocess.run(
        command, capture_output=True, text=True, env=run_environment(runtime), timeout=150, check=False, **kwargs
    )


def start(*args: str, runtime: Path) -> subprocess.Popen[str]:
    """Start ``run_stream.py`` in a process group of its own. ``end_runs`` ends it if the test does not."""
    run = subprocess.Popen(
        [sys.executable, str(ROOT / "run_stream.py"), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=run_environment(runtime),
        start_new_session=True,
    )
    _started.append(run)
    return run


def end_runs() -> None:
    """Kill what is left of the runs started since the last call, the supervisor before its stages."""
    while _started:
        with _started.pop() as run:
            run.kill()
            for worker in workers_of(run.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the parsed lines of a JSONL file."""
    text = path.read_text()
    assert text == "" or text.endswith("\n"), f"{path} ends in the middle of a line"
    return [json.loads(line) for line in text.splitlines()]


def record(out: Path) -> dict[str, Any]:
    """Return the contents of ``run.json``."""
    loaded: dict[str, Any] = json.loads((out / "run.json").read_text())
    return loaded


def workers_of(session: int) -> list[int]:
    """Return the ids of the processes whose command line shows a worker of this supervisor."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"pipeline.worker" in words and str(session).encode() in words:
                found.append(int(entry.name))
    return found


def worker_of(session: int, stage: str) -> int | None:
    """Return the process id of the worker of a stage, if it is running."""
    for pid in workers_of(session):
        with contextlib.suppress(OSError):
            if stage.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
    return None


def assert_nothing_left(supervisor: int, runtime: Path) -> None:
    """Check that no process, socket, folder or shared memory is left."""
    assert workers_of(supervisor) == []
    assert list(runtime.iterdir()) == []
    shm = Path("/dev/shm")
    assert not shm.exists() or not [entry for entry in shm.iterdir() if entry.name.startswith("irst")]
