"""A clock that is moved by hand, and a stage that was started and is none."""

from __future__ import annotations


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Child:
    """A child that does not listen, and dies when it is killed."""

    def __init__(self) -> None:
        self.running, self.how = True, "killed by SIGSEGV"
        self.said: list[str] = []

    def terminate(self) -> None:
        self.said.append("terminate")

    def kill(self) -> None:
        self.said.append("kill")
        self.running, self.how = False, "killed by SIGKILL"

    def join(self, timeout_s: float) -> None:
        pass
