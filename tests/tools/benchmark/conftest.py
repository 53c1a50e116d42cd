"""Shared fixtures of the benchmark tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.benchmark.job import Context

SMALL = "test://demo?width=96&height=64"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A context with one thread and the fastest settings."""
    return Context(1, ["sinks.overlay=false"], None, tmp_path)
