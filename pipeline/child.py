"""Where a stage lives: a thread of this process, or a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Protocol

import msgspec
import zmq

from pipeline import graph


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

    def kill(self) -> None:
        """Make it go."""

    def join(self, timeout_s: float) -> None:
        """Wait for its end, at most this long."""


class ThreadChild:
    """A stage in a thread. It cannot be killed."""

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

    def kill(self) -> None:
        """There is no way."""

    def join(self, timeout_s: float) -> None:
        """Wait for its end, at most this long."""
        self._thread.join(timeout_s)


class ProcessChild:
    """A stage in a process and process group of its own; gets its plan on standard input."""

    def __init__(self, plan: graph.StagePlan) -> None:
        root = Path(__file__).resolve().parent.parent
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.worker", str(os.getpid()), plan.name],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            process_group=0,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(msgspec.json.encode(plan))
            self._process.stdin.close()

    @property
    def pid(self) -> int:
        """A process of its own."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """The process has not ended."""
        return self._process.poll() is None

    @property
    def how(self) -> str:
        """Its exit status, or the signal that ended it."""
        status = self._process.returncode
        if status is None or status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
        return f"killed by signal {-status}"

    def kill(self) -> None:
        """SIGKILL, which every process hears."""
        self._process.kill()

    def join(self, timeout_s: float) -> None:
        """Wait for its end, at most this long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
