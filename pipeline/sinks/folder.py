"""The output folder of a run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.errors import ConfigError

LOCK = ".lock"
"""Name of the file by which a run keeps others out of its folder. It stays: only its lock says anything."""


def claim(folder: Path) -> None:
    """Create the folder, or make sure that it can be written to.

    Raises:
        ConfigError: it cannot be.
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
    """Claim the folder, and keep other runs out of it until this one ends, however it does.

    Raises:
        ConfigError: it cannot be written to, or another run writes to it.
    """
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
    """Whether another run has the lock, which is this one's from now on if not. Not all file systems know any."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False
