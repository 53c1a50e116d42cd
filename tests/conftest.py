"""What all tests share: the real data, where it is at hand, and how properties are searched."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.opencv import require_opencv

# A busy machine must not fail a property, and a landing must not depend on the day's random examples.
settings.register_profile("steady", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("steady")

# Threads that wait for each other must not keep from their cores the tests that run beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Before any test opens a video by itself: FFmpeg's log level is fixed by the first one.
require_opencv()

ROOT = Path(__file__).resolve().parent.parent


def real_data(*parts: str) -> Path:
    """Path below the real-data folder (``IRST_DATA``, or ``shared/data`` beside the checkout), or skip the test."""
    path = Path(os.environ.get("IRST_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data not at hand: {path} (set IRST_DATA)")
    return path


def speaks_ipv6() -> bool:
    """Whether this machine has a loopback address of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def wait_until(
    condition: Callable[[], object], seconds: float = 20.0, pause: Callable[[], object] = lambda: time.sleep(0.02)
) -> None:
    """Wait for something that others bring about; ``pause`` is what is done between two looks."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "did not happen in time"
        pause()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, as a run does with its private one."""
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)
