"""Adjustable wall clock for one run and its stages only."""

from __future__ import annotations

import struct
from pathlib import Path

from tools.chaos.preload import preloaded

CODE = Path(__file__).with_suffix(".c")


class WallClock:
    """The time of day as a run sees it. Needs a C compiler.

    Args:
        folder: folder for the compiled code and the offset file.

    Attributes:
        environment: environment variables that make a process use this clock.
    """

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self._offset.write_bytes(struct.pack("=q", 0))
        self.environment = {**preloaded(CODE, folder), "WALL_CLOCK_OFFSET": str(self._offset)}

    def set(self, seconds: int) -> None:
        """Set the clock so many seconds ahead of the true time."""
        with self._offset.open("r+b") as file:  # in place, because the file is memory-mapped
            file.write(struct.pack("=q", seconds))
