"""Private folder of a run, which holds its sockets, its journals and its status socket."""

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
"""Name of the Unix socket that serves the status of the run. No other socket of a run has a longer name."""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Create a folder that only this user can enter, in the temporary folder; it is deleted at the end.

    ``XDG_RUNTIME_DIR`` would be the usual place, but it is deleted when the user logs out, and a run may go on.

    The folder is locked while it is in use, and the lock ends with the process in any case. A process id would not be
    reliable: it may belong to another process by now, or mean nothing in another container. Programs that clean up
    temporary folders also skip locked ones. Folders left by dead runs are removed first.

    Raises:
        ConfigError: the folder cannot be created, or its path is too long for the sockets in it.
    """
    base = Path(tempfile.gettempdir())
    for left in _folders(base):
        if (lock := _lock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    try:
        made, lock = _make(base)
    except OSError as error:
        raise ConfigError(f"{base}: no folder for a run can be created: {error.strerror}") from None
    try:
        excess = len(os.fsencode(made / STATUS)) - zmq.IPC_PATH_MAX_LEN
        if excess > 0:
            raise ConfigError(f"{base}: {excess} bytes too long for the sockets of a run; set TMPDIR to a shorter path")
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def status_sockets() -> list[Path]:
    """Return the status sockets of all live runs of this user that have the same temporary folder."""
    sockets = [folder / STATUS for folder in _folders(Path(tempfile.gettempdir())) if _is_in_use(folder)]
    return [socket for socket in sockets if os.access(socket, os.W_OK)]


def _make(base: Path) -> tuple[Path, int | None]:
    """Create a folder. Return it and the descriptor of its lock, None if the file system has no locks."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=f"irst-{os.getpid()}-", dir=base))
        lock = _lock(made, fcntl.LOCK_EX)
        if made.exists():
            return made, lock
        if lock is not None:  # another run has locked it first and removed it as a leftover
            os.close(lock)


def _lock(folder: Path, how: int) -> int | None:
    """Lock a folder. Return the descriptor that holds the lock, None if it cannot be locked."""
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
    """Whether it is a real folder of this user: in a shared temporary folder others can create such names, or links."""
    try:
        found = folder.lstat()
    except OSError:  # deleted since it was listed
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
