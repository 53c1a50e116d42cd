"""Where a stage lives: a thread of this process, or a process of its own."""

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

from pipeline import graph

JOIN_POLL_S = 0.02


class Child(Protocol):
    """A stage that was started."""

    @property
    def pid(self) -> int:
        """Of the process that it lives in."""

    @property
    def running(self) -> bool:
        """It has not ended."""

    @property
    def how(self) -> str:
        """How it ended, for people."""

    def terminate(self) -> None:
        """Ask it to go, beside the line that it may not be listening to."""

    def kill(self) -> None:
        """Make it go."""

    def join(self, timeout_s: float) -> None:
        """Wait for its end, at most this long."""


class ThreadChild:
    """A stage in a thread. It cannot be killed, and hears of its line alone."""

    def __init__(self, plan: graph.StagePlan, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._thread = threading.Thread(target=graph.run, args=(plan, context), name=plan.name, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """This process."""
        return os.getpid()

    @property
    def running(self) -> bool:
        """The thread has not ended."""
        return self._thread.is_alive()

    @property
    def how(self) -> str:
        """Threads keep to themselves how they end."""
        return "thread ended"

    def terminate(self) -> None:
        """There is no way."""

    def kill(self) -> None:
        """There is no way."""

    def join(self, timeout_s: float) -> None:
        """Wait for its end, at most this long."""
        self._thread.join(timeout_s)


class ProcessChild:
    """A stage in a process and process group of its own; gets its plan on standard input.

    That pipe stays open for as long as the stage is wanted. Service managers and terminals send signals to all
    processes of a run; SIGTERM is the supervisor's own only when the pipe is closed.
    """

    def __init__(self, plan: graph.StagePlan) -> None:
        root = Path(__file__).resolve().parent.parent
        path = os.pathsep.join(filter(None, [str(root), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
        self._process = subprocess.Popen(
            # -P, and no empty part in the path: nothing is imported from the current folder, which may be anybody's
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
        """A process of its own."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """The process has not ended. What it has started goes with it, at the latest when its end is seen."""
        if self._process.returncode is None and self._process.poll() is not None:
            self._kill_group()
        return self._process.returncode is None

    @property
    def how(self) -> str:
        """Its exit status, or the signal that ended it."""
        status = self._process.returncode
        if status is None or status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
        return f"killed by signal {-status}"

    def terminate(self) -> None:
        """SIGTERM, which the stage hears between two frames."""
        self._close()
        if self.running:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the process and all that it has started, which every process hears."""
        if self.running:
            self._kill_group()

    def join(self, timeout_s: float) -> None:
        """Wait for its end, at most this long."""
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
