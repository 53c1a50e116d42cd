"""The output folder of a run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.errors import ConfigError, is_utf8

LOCK = ".lock"
"""Name of the lock file of an output folder. It is never deleted: only the lock on it matters, not its existence."""


def claim(folder: Path) -> None:
    """Create the folder, or check that it is writable.

    Raises:
        ConfigError: it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"output folder {folder}: {error.strerror or os.strerror(error.errno or 0)}") from None


@contextmanager
def reserve(folder: Path) -> Iterator[None]:
    """Create the folder and lock it against other runs until this one exits, even if it crashes.

    Raises:
        ConfigError: the folder cannot be written to, or another run is writing to it.
    """
    if not is_utf8(str(folder)):
        raise ConfigError(f"output folder {folder}: the name is no UTF-8")
    claim(folder)
    with ExitStack() as held:
        try:
            lock = held.enter_context((folder / LOCK).open("a+"))
            if _is_taken(lock):
                lock.seek(0)
                raise ConfigError(f"output folder {folder}: in use by run {lock.read().strip()}")
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        except OSError as error:
            raise ConfigError(f"output folder {folder}: {error.strerror}") from None
        yield


def _is_taken(lock: TextIO) -> bool:
    """Return whether another run holds the lock; if not, this run acquires it.

    File systems without locks count as free.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False
