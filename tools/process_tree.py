"""Resources held by a process and its children: memory, file descriptors, threads, sockets."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import psutil

MAIN = "main"
_WORKER = "pipeline.worker"


class Held(NamedTuple):
    """Resources that one process holds at one moment.

    Attributes:
        memory_mb: unique set size in 1e6 bytes, the memory that ending the process would free.
        fds: open file descriptors, including those of sockets.
        threads: operating system threads.
        sockets: network and Unix sockets.
    """

    memory_mb: float
    fds: int
    threads: int
    sockets: int


def held(root: psutil.Process) -> dict[str, Held]:
    """Return the resources of a process and all its descendants, by name.

    The root is named ``main``, workers after their stage, and other processes after their program. Processes of the
    same name are summed. A process that ends meanwhile is left out.
    """
    found: dict[str, Held] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(
                psutil.NoSuchProcess, psutil.AccessDenied
            ):  # access is denied while a process is starting
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
