"""Numbers that outlive a stage: a memory-mapped file in the run's private folder.

What a process has written to a shared mapping belongs to the kernel: it survives ``kill -9`` of the process,
without a call to the system per number. The next life of the stage goes on from it, and the supervisor reads
it. Each stage has a file of its own and gives its slots their meaning.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

SLOTS = 16
_BYTES = 8 * SLOTS


class Row(Protocol):
    """Whole numbers of 64 bits; each is written in one piece."""

    def __getitem__(self, slot: int, /) -> int:
        """The number in a slot."""

    def __setitem__(self, slot: int, number: int, /) -> None:
        """Write the number of a slot."""


class Journal:
    """``SLOTS`` numbers for each source, zero at first.

    Args:
        path: of the file, made if missing.
        sources: ids, in the same order for all users of the file.
    """

    def __init__(self, path: Path, sources: Sequence[str]) -> None:
        self._index = {source: i for i, source in enumerate(sources)}
        with path.open("a+b") as file:
            # Written, not left as a hole: a full disk is an error here, and a SIGBUS anywhere later.
            file.write(bytes(max(0, _BYTES * len(sources) - file.tell())))
            file.flush()
            self._numbers = memoryview(mmap.mmap(file.fileno(), _BYTES * len(sources))).cast("q")

    def row(self, source: str) -> Row:
        """The numbers of a source."""
        first = SLOTS * self._index[source]
        return self._numbers[first : first + SLOTS]
