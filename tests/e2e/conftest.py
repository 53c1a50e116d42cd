"""What end-to-end tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import end_runs


@pytest.fixture
def runtime() -> Iterator[Path]:
    """An empty folder for sockets, with a path short enough for them; no run in it outlives its test."""
    with tempfile.TemporaryDirectory(prefix="rt") as folder:
        yield Path(folder)
        end_runs()
