"""What a process and its children hold: memory, descriptors, threads, sockets."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import psutil

MAIN = "main"
_WORKER = "pipeline.worker"


class Held(NamedTuple):
    """What one process holds at a moment.

    Attributes:
        memory_mb: unique set size: what its end would set free, in 1e6 bytes.
        fds: open file descriptors, those of sockets among them.
        threads: of the operating system.
        sockets: network and Unix sockets.
    """

    memory_mb: float
    fds: int
    threads: int
    sockets: int


def held(root: psutil.Process) -> dict[str, Held]:
    """What a process and all its descendants hold, by name.

    Names are ``main``, those of the stages of workers, and of other programs theirs; equal names are added up. A
    process that ends meanwhile is left out.
    """
    found: dict[str, Held] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # the latter: it is just being born
                name = MAIN if process == root else _name(process)
                parts = zip(found.get(name, Held(0.0, 0, 0, 0)), _held(process), strict=True)
                found[name] = Held(*(before + more for before, more in parts))  # type: ignore[arg-type]
    return found


def _held(process: psutil.Process) -> Held:
    return Held(
        memory_mb=process.memory_full_info().uss / 1e6,
        fds=process.num_fds(),
        threads=process.num_threads(),
        sockets=len(process.net_connections("all")),
    )


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    return words[-1] if _WORKER in words else process.name()
