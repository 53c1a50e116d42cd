"""The private folder of a run: sockets, journals, and the door at which it tells how it is."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

import zmq

from pipeline.errors import ConfigError

STATUS = "status.sock"
"""Name of the Unix socket that answers questions about the run; no other socket of a run has a longer one."""


def make() -> Path:
    """A folder that only this user can enter, in the first of ``places``; those of dead runs are swept there.

    Raises:
        ConfigError: its path is too long for the sockets in it.
    """
    base = places()[0]
    for pid, folder in _folders(base):
        if _is_gone(pid):
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"irst-{os.getpid()}-", dir=base))
    excess = len(os.fsencode(folder / STATUS)) - zmq.IPC_PATH_MAX_LEN
    if excess > 0:
        folder.rmdir()
        raise ConfigError(
            f"{base}: {excess} bytes too long a path for the sockets of a run; set XDG_RUNTIME_DIR to a shorter one"
        )
    return folder


def places() -> list[Path]:
    """Where runs of this user may have their folders, whatever they were started by.

    ``XDG_RUNTIME_DIR`` belongs to a session; services, cron and sudo start programs without it.
    """
    runtime, temporary = os.environ.get("XDG_RUNTIME_DIR"), Path(tempfile.gettempdir())
    named = [Path(runtime)] if runtime else []
    return list(dict.fromkeys([*(base for base in named if base.is_dir() and os.access(base, os.W_OK)), temporary]))


def status_doors() -> list[Path]:
    """The sockets of this user's runs on this machine, as far as they are in ``places`` and their process is there."""
    doors = [folder / STATUS for base in places() for pid, folder in _folders(base) if not _is_gone(pid)]
    return [door for door in doors if os.access(door, os.W_OK)]


def _folders(base: Path) -> list[tuple[int, Path]]:
    named = [(folder.name.split("-")[1], folder) for folder in sorted(base.glob("irst-*-*"))]
    return [(int(pid), folder) for pid, folder in named if pid.isdigit() and _is_ours(folder)]


def _is_gone(pid: int) -> bool:
    return Path("/proc/self").exists() and not Path(f"/proc/{pid}").exists()


def _is_ours(folder: Path) -> bool:
    """In a temporary folder of all users anybody may make one of this name, or a link to where they like."""
    try:
        found = folder.lstat()
    except OSError:  # gone since it was listed
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
