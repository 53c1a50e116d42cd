"""Test doubles: a clock that is set by hand, and a child that stands in for a started stage."""

from __future__ import annotations


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Child:
    """A child that ignores SIGTERM and dies when it is killed."""

    def __init__(self) -> None:
        self.running, self.exit_reason = True, "killed by SIGSEGV"
        self.said: list[str] = []

    def terminate(self) -> None:
        self.said.append("terminate")

    def kill(self) -> None:
        self.said.append("kill")
        self.running, self.exit_reason = False, "killed by SIGKILL"

    def join(self, timeout_s: float) -> None:
        pass
