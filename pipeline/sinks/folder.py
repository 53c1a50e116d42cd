"""The output folder of a run."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import ConfigError


def claim(folder: Path) -> None:
    """Create the folder, or make sure that it can be written to.

    Raises:
        ConfigError: it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"output folder {folder}: {error.strerror or os.strerror(error.errno or 0)}") from None
