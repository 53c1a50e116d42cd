"""Split files as a command line names them."""

from __future__ import annotations

from pathlib import Path

from training.data import names


def split_file_names(data: Path, split: str) -> list[str]:
    """Names of a split file, one a line, in its order.

    Args:
        data: folder of the data set.
        split: path of the file as it is, or else below ``data``.

    Raises:
        ConfigError: see ``training.data.names``.
    """
    return names(data, str(Path(split).resolve()) if Path(split).is_file() else split)
