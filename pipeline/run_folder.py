"""Private folders of a run: sockets, journals, and the door at which it tells how it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import zmq

from pipeline.errors import ConfigError

STATUS = "status.sock"
"""Name of the Unix socket that answers questions about the run; no other socket of a run has a longer one."""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that only this user can enter, in the first of ``places``, gone at the end.

    It is locked for as long as it is in use, however that ends: a process id may be that of another process by now,
    or mean none where it is looked at, as in a container. Cleaners of temporary folders pass over what is locked, too.
    Folders of dead runs are swept.

    Raises:
        ConfigError: its path is too long for the sockets in it.
    """
    base = places()[0]
    for left in _folders(base):
        if (lock := _lock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    made, lock = _make(base)
    try:
        excess = len(os.fsencode(made / STATUS)) - zmq.IPC_PATH_MAX_LEN
        if excess > 0:
            raise ConfigError(
                f"{base}: {excess} bytes too long a path for the sockets of a run; set XDG_RUNTIME_DIR to a shorter one"
            )
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def places() -> list[Path]:
    """Where runs of this user may have their folders, whatever they were started by.

    ``XDG_RUNTIME_DIR`` belongs to a session; services, cron and sudo start programs without it.
    """
    runtime, temporary = os.environ.get("XDG_RUNTIME_DIR"), Path(tempfile.gettempdir())
    named = [Path(runtime)] if runtime else []
    return list(dict.fromkeys([*(base for base in named if base.is_dir() and os.access(base, os.W_OK)), temporary]))


def status_sockets() -> list[Path]:
    """The sockets of this user's runs on this machine, as far as they are in ``places`` and alive."""
    doors = [folder / STATUS for base in places() for folder in _folders(base) if _is_in_use(folder)]
    return [door for door in doors if os.access(door, os.W_OK)]


def _make(base: Path) -> tuple[Path, int | None]:
    """A new folder, and what holds its lock; None where the file system knows no locks, and nothing is swept."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=f"irst-{os.getpid()}-", dir=base))
        lock = _lock(made, fcntl.LOCK_EX)
        if made.exists():
            return made, lock
        if lock is not None:  # another run was faster, and has taken it for a dead one's
            os.close(lock)


def _lock(folder: Path, how: int) -> int | None:
    """Descriptor that holds the lock of a folder; None if it cannot be had."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, how)
        except OSError:
            os.close(descriptor)
        else:
            return descriptor
    return None


def _is_in_use(folder: Path) -> bool:
    lock = _lock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    if lock is not None:
        os.close(lock)
    return lock is None


def _folders(base: Path) -> list[Path]:
    named = sorted(base.glob("irst-*-*"))
    return [folder for folder in named if folder.name.split("-")[1].isdigit() and _is_ours(folder)]


def _is_ours(folder: Path) -> bool:
    """In a temporary folder of all users anybody may make one of this name, or a link to where they like."""
    try:
        found = folder.lstat()
    except OSError:  # gone since it was listed
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
