"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import end_runs


@pytest.fixture
def runtime() -> Iterator[Path]:
    """An empty folder with a path short enough for sockets. Runs that use it are ended after the test."""
    with tempfile.TemporaryDirectory(prefix="rt") as folder:
        yield Path(folder)
        end_runs()
