"""Runs a stage in a thread of this process or in a child process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

import msgspec
import zmq

from pipeline import stage_runner
from pipeline.graph import StagePlan

JOIN_POLL_S = 0.02


class Child(Protocol):
    """A stage that was started, in a thread or in a process."""

    @property
    def pid(self) -> int:
        """Id of the process in which the stage runs."""

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""

    @property
    def exit_reason(self) -> str:
        """How it ended, as text for messages."""

    def terminate(self) -> None:
        """Ask the stage to exit by a signal, in case it does not read its control link."""

    def kill(self) -> None:
        """Force it to end."""

    def join(self, timeout_s: float) -> None:
        """Wait until it ends, at most ``timeout_s`` seconds."""


class ThreadChild:
    """A stage in a thread. It cannot be killed and can only be stopped through its control link."""

    def __init__(self, plan: StagePlan, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._thread = threading.Thread(target=stage_runner.run, args=(plan, context), name=plan.name, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Id of this process."""
        return os.getpid()

    @property
    def running(self) -> bool:
        """Whether the thread has not ended yet."""
        return self._thread.is_alive()

    @property
    def exit_reason(self) -> str:
        """A fixed text: how a thread ended is not known."""
        return "thread ended"

    def terminate(self) -> None:
        """Do nothing: a thread cannot be signalled."""

    def kill(self) -> None:
        """Do nothing: a thread cannot be killed."""

    def join(self, timeout_s: float) -> None:
        """Wait until it ends, at most ``timeout_s`` seconds."""
        self._thread.join(timeout_s)


class UnstartedChild:
    """A stage whose process could not be started, so that it has died at once.

    Args:
        error: why the operating system refused.
    """

    pid, running = 0, False

    def __init__(self, error: OSError) -> None:
        self.exit_reason = f"cannot be started: {error.strerror}"

    def terminate(self) -> None:
        """Do nothing."""

    def kill(self) -> None:
        """Do nothing."""

    def join(self, timeout_s: float) -> None:
        """Do nothing."""


class ProcessChild:
    """A stage in a process and process group of its own, which reads its plan from standard input.

    The pipe stays open as long as the stage is needed. Service managers and terminals send signals to all processes
    of a run, so the stage takes a SIGTERM as one of the supervisor only once the pipe is closed.
    """

    def __init__(self, plan: StagePlan) -> None:
        root = Path(__file__).resolve().parent.parent
        path = os.pathsep.join(filter(None, [str(root), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
        self._process = subprocess.Popen(
            # -P and no empty entry in PYTHONPATH: never import from the current folder, which others may write to
            [sys.executable, "-P", "-m", "pipeline.worker", str(os.getpid()), plan.name],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            process_group=0,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(msgspec.json.encode(plan) + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Id of the child process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet. Once its end is noticed, its process group is killed."""
        if self._process.returncode is None and self._process.poll() is not None:
            self._kill_group()
        return self._process.returncode is None

    @property
    def exit_reason(self) -> str:
        """Its exit status, or the signal that ended it."""
        status = self._process.returncode
        if status is None or status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
        return f"killed by signal {-status}"

    def terminate(self) -> None:
        """Send SIGTERM, which the stage handles between two frames."""
        self._close()
        if self.running:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the process and everything that it has started. No process can ignore it."""
        if self.running:
            self._kill_group()

    def join(self, timeout_s: float) -> None:
        """Wait until it ends, at most ``timeout_s`` seconds."""
        limit = time.monotonic() + timeout_s
        while self.running and time.monotonic() < limit:
            time.sleep(JOIN_POLL_S)

    def _kill_group(self) -> None:
        self._close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
