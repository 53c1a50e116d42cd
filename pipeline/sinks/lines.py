"""Text files that contain only complete lines at any moment."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import ConfigError, StageError

_BLOCK = 65_536


class LineFile:
    """Writes complete lines directly to the operating system, so that they survive a crash of the process.

    Args:
        path: path of the file.
        resume: continue after the last complete line of the file; otherwise the file is replaced.

    Attributes:
        last: last line of the resumed file, without its line end; empty if there was none.

    Raises:
        ConfigError: the file cannot be created.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        self.last = b""
        self._length = 0
        how = os.O_RDWR if resume else os.O_WRONLY | os.O_TRUNC
        try:
            self._file = os.open(path, how | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            if resume:
                self._resume()
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None

    def write(self, lines: bytes) -> None:
        """Append complete lines, either all of them or none.

        Raises:
            StageError: the disk is full or broken; earlier lines are unchanged.
        """
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._truncate_partial()
            raise StageError(f"cannot write {self.path}: {error.strerror}") from None
        self._length += len(lines)

    def close(self) -> None:
        """Flush the file to disk and close it.

        Raises:
            StageError: the disk is full or broken.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise StageError(f"cannot write {self.path}: {error.strerror}") from None
        finally:
            os.close(self._file)

    def _resume(self) -> None:
        """Truncate an incomplete last line, and read the last complete one."""
        start = os.fstat(self._file).st_size
        tail = b""
        while start and tail.count(b"\n") < 2:
            start, end = max(0, start - _BLOCK), start
            tail = os.pread(self._file, end - start, start) + tail
        whole = tail[: tail.rfind(b"\n") + 1]
        self.last = whole[:-1].rpartition(b"\n")[2]
        self._length = start + len(whole)
        os.ftruncate(self._file, self._length)

    def _truncate_partial(self) -> None:
        try:
            os.ftruncate(self._file, self._length)
        except OSError:
            return  # devices such as /dev/full cannot be truncated and hold no partial line
