"""Process-level setup of the programs of this project: standard streams, signals and exit."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

_OUTPUT, _ERROR = 1, 2
_PR_SET_PDEATHSIG = 1


class _Stream(io.FileIO):
    """Standard stream whose write errors are ignored: data that cannot be written is discarded."""

    def write(self, data: Any, /) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


def open_streams() -> None:
    """Replace standard output and standard error by streams to which writing never fails.

    A reader that is gone, a full disk, a closed terminal or a stream that was closed from the start must neither end a
    run nor change its exit code.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _ERROR:
        os.set_inheritable(number, True)  # otherwise the next opened file would get the number of a closed stream
    os.close(number)
    sys.stdout, sys.stderr = _text(_OUTPUT, sys.stdout), _text(_ERROR, sys.stderr)


def die_with(parent: int) -> None:
    """Let Linux kill this process as soon as its parent has died, however it died.

    Args:
        parent: id of the process that started this one, which exits at once if that is already gone.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def on_stop(handler: Callable[[], None]) -> None:
    """Call ``handler`` on SIGINT, SIGTERM and SIGHUP. SIGHUP stays ignored if it was ignored before (``nohup``)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: handler())


def exit_program(code: int) -> NoReturn:
    """End the program, even if a daemon thread hangs in a driver and would crash the interpreter at shutdown."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.daemon for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)


def _text(number: int, before: TextIO | None) -> TextIO:
    raw = io.BufferedWriter(_Stream(number, "w", closefd=False))
    encoding = before.encoding if before is not None else None
    return io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=True)
