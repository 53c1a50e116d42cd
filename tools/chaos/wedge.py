"""System calls that do not return, for single processes of a run."""

from __future__ import annotations

from pathlib import Path

from tools.chaos.preload import preloaded

CODE = Path(__file__).with_suffix(".c")


class Wedge:
    """Makes processes hang in C code. Needs a C compiler.

    Args:
        folder: folder for the compiled code and for the ids of hanging processes.

    Attributes:
        environment: environment variables of processes that can be made to hang.
    """

    def __init__(self, folder: Path) -> None:
        self._held = folder / "wedged"
        self._held.mkdir()
        self.environment = {**preloaded(CODE, folder), "WEDGE_FOLDER": str(self._held)}

    def hold(self, pid: int) -> None:
        """Make the next ``getppid`` call of a process hang."""
        (self._held / str(pid)).touch()
