"""A call to the system that does not return, for one process of a run."""

from __future__ import annotations

from pathlib import Path

from tools.chaos.preload import preloaded

CODE = Path(__file__).with_suffix(".c")


class Wedge:
    """Holds processes in C code. Needs a C compiler.

    Args:
        folder: for the compiled code, and for the names of those that are held.

    Attributes:
        environment: variables that let a process be held.
    """

    def __init__(self, folder: Path) -> None:
        self._held = folder / "wedged"
        self._held.mkdir()
        self.environment = {**preloaded(CODE, folder), "WEDGE_FOLDER": str(self._held)}

    def hold(self, pid: int) -> None:
        """Let a process not come back from its next call."""
        (self._held / str(pid)).touch()
