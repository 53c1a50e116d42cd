"""How a program of this project gets on with who started it: its standard streams, its signals, its exit."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

_OUTPUT, _ERROR = 1, 2


class _Stream(io.FileIO):
    """A standard stream; what can no longer be written to it is lost, and nothing else."""

    def write(self, data: Any, /) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


def open_streams() -> None:
    """Make standard output and standard error such that nothing written to them can fail.

    A reader that has gone, a full disk, a terminal hung up or a stream closed beforehand must not end a run, nor
    change its exit code.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _ERROR:
        os.set_inheritable(number, True)  # else the number of a closed stream would be that of the next file opened
    os.close(number)
    sys.stdout, sys.stderr = _text(_OUTPUT, sys.stdout), _text(_ERROR, sys.stderr)


def on_stop(handler: Callable[[], None]) -> None:
    """Call ``handler`` at Ctrl-C, at SIGTERM, and when the terminal is hung up, unless that is ignored (``nohup``)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: handler())


def leave(code: int) -> NoReturn:
    """End the program, although a thread may hang in a driver: it would crash the interpreter on its way out."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.daemon for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)


def _text(number: int, before: TextIO | None) -> TextIO:
    raw = io.BufferedWriter(_Stream(number, "w", closefd=False))
    encoding = before.encoding if before is not None else None
    return io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=True)
