"""A text file that is complete up to its last line at any moment."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import ConfigError, StageError


class LineFile:
    """Writes whole lines straight to the operating system: what was written survives a crash of the process.

    Args:
        path: of the file; replaced if it exists.

    Raises:
        ConfigError: the file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._length = 0
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None

    def write(self, lines: bytes) -> None:
        """Append complete lines, all of them or none.

        Raises:
            StageError: the disk is full or broken; earlier lines stay as they were.
        """
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._cut()
            raise StageError(f"cannot write {self.path}: {error.strerror}") from None
        self._length += len(lines)

    def close(self) -> None:
        """Put the file on disk for good.

        Raises:
            StageError: the disk is full or broken.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise StageError(f"cannot write {self.path}: {error.strerror}") from None
        finally:
            os.close(self._file)

    def _cut(self) -> None:
        try:
            os.ftruncate(self._file, self._length)
        except OSError:
            return  # a device, such as /dev/full, holds no partial line
