"""Checks output files before the work that fills them, so that hours of it are not lost to a wrong name."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError


def check(option: str, path: Path) -> None:
    """Check that a file can be written. A file that exists stays as it is, and none is left behind.

    Args:
        option: command-line option that names the file, for the error message.
        path: the file.

    Raises:
        ConfigError: it cannot be created or written to.
    """
    try:
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            path.resolve().unlink()  # of a link to a missing file, that file
    except OSError as error:
        raise ConfigError(f"{option} {path}: {error.strerror}") from None
