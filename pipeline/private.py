"""The private folder of a run: sockets, journals, and the door at which it tells how it is."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

STATUS = "status.sock"
"""Name of the Unix socket that answers questions about the run."""


def make() -> Path:
    """A folder that only this user can enter; those of dead runs are swept."""
    base = _base()
    for pid, folder in _folders(base):
        if Path("/proc/self").exists() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"irst-{os.getpid()}-", dir=base))


def status_doors() -> dict[int, Path]:
    """The sockets of this user's runs on this machine, by process id."""
    return {pid: folder / STATUS for pid, folder in _folders(_base()) if os.access(folder / STATUS, os.W_OK)}


def _base() -> Path:
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    return base if base.is_dir() and os.access(base, os.W_OK) else Path(tempfile.gettempdir())


def _folders(base: Path) -> list[tuple[int, Path]]:
    named = [(folder.name.split("-")[1], folder) for folder in sorted(base.glob("irst-*-*"))]
    return [(int(pid), folder) for pid, folder in named if pid.isdigit() and _is_ours(folder)]


def _is_ours(folder: Path) -> bool:
    """In a temporary folder of all users anybody may make one of this name."""
    try:
        return folder.stat().st_uid == os.getuid()
    except OSError:  # gone since it was listed
        return False
