"""Counters that survive the death of a stage: a memory-mapped file in the private folder of the run.

Values written to a shared mapping belong to the kernel. They survive ``kill -9`` of the process and need no system call
per number. A restarted stage continues from them, and the supervisor reads them. Each stage has its own file and
defines the meaning of its slots.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pipeline.errors import ConfigError

SLOTS = 16
_BYTES = 8 * SLOTS


class Row(Protocol):
    """A row of 64-bit integers. Each is written atomically."""

    def __getitem__(self, slot: int, /) -> int:
        """Return the number in a slot."""

    def __setitem__(self, slot: int, number: int, /) -> None:
        """Set the number in a slot."""


class Journal:
    """``SLOTS`` integers for each source, initially zero.

    Args:
        path: path of the file, which is created if missing.
        sources: ids of the sources; all users of the file must give them in the same order.

    Raises:
        ConfigError: the file cannot be written, for example because the disk is full.
    """

    def __init__(self, path: Path, sources: Sequence[str]) -> None:
        self._index = {source: i for i, source in enumerate(sources)}
        try:
            with path.open("a+b") as file:
                # Write zeros instead of leaving a hole: a full disk is an error here, but a SIGBUS anywhere later.
                file.write(bytes(max(0, _BYTES * len(sources) - file.tell())))
                file.flush()
                self._numbers = memoryview(mmap.mmap(file.fileno(), _BYTES * len(sources))).cast("q")
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None

    def row(self, source: str) -> Row:
        """Return the row of a source."""
        first = SLOTS * self._index[source]
        return self._numbers[first : first + SLOTS]
