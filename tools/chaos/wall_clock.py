"""A wall clock that can be moved, for one run and its stages only."""

from __future__ import annotations

import struct
from pathlib import Path

from tools.chaos.preload import preloaded

CODE = Path(__file__).with_suffix(".c")


class WallClock:
    """The time of day as a run sees it. Needs a C compiler.

    Args:
        folder: for the compiled code and the offset.

    Attributes:
        environment: variables that put a process under this clock.
    """

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self._offset.write_bytes(struct.pack("=q", 0))
        self.environment = {**preloaded(CODE, folder), "WALL_CLOCK_OFFSET": str(self._offset)}

    def set(self, seconds: int) -> None:
        """Let it be so many seconds ahead of the true one."""
        with self._offset.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=q", seconds))
