"""The check of output files leaves everything as it was, and names what cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.output_file import check


def test_nothing_is_changed(tmp_path: Path) -> None:
    old, link = tmp_path / "old", tmp_path / "link"
    old.write_text("kept")
    link.symlink_to("target")
    for path in (old, link, tmp_path / "new"):
        check("--json", path)
    assert sorted(tmp_path.iterdir()) == [link, old]
    assert old.read_text() == "kept"
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone/new", "No such file"), ("", "Is a directory"), (300 * "x", "File name too long"), ("old/new", "Not a dir")],
)
def test_what_cannot_be_written_is_named(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "old").touch()
    with pytest.raises(ConfigError, match=f"--json {tmp_path / name}: {reason}"):
        check("--json", tmp_path / name)
