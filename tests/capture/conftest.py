"""Pictures and videos read by the capture tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
import zmq

from pipeline.capture.source import Grab, Source
from tests.capture.bench import Bench
from tests.capture.remote_host import Read
from tests.capture.streams import reading

FFMPEG = shutil.which("ffmpeg")
SIZE = "64x48"


def film(path: Path, *options: str, frames: int = 20, size: str = SIZE) -> Path:
    """Create a 25 fps video of a moving test picture with ffmpeg and the given output options, or skip the test."""
    if FFMPEG is None:
        pytest.skip("the ffmpeg program is not installed")
    pattern = f"testsrc2=s={size}:r=25"
    command = [FFMPEG, "-v", "error", "-y", "-f", "lavfi", "-i", pattern, "-frames:v", str(frames), *options, str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def cut(path: Path, share: float) -> Path:
    """Return a copy of a file that is truncated."""
    short = path.with_name(f"cut_{path.name}")
    data = path.read_bytes()
    short.write_bytes(data[: int(len(data) * share)])
    return short


def ramp(dtype: type, height: int = 40, width: int = 50, start: int = 0) -> np.ndarray:
    """Return a picture in which every pixel has a position-dependent value."""
    return (np.arange(height * width) + start).astype(dtype).reshape(height, width)


def write(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def read_all(source: Source) -> list[Grab]:
    """Open a source, read it to its end and close it."""
    source.open()
    grabs = []
    while (grab := source.grab()) is not None:
        grabs.append(grab)
    source.close()
    return grabs


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    made = zmq.Context()
    yield made
    made.destroy(0)


@pytest.fixture
def read() -> Iterator[Read]:
    """Return a function that starts reading a remote camera; all readers are closed after the test."""
    with ExitStack() as sources:
        yield lambda url, config: sources.enter_context(reading(url, config))


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for bench in made:
        bench.receiver.close()
        bench.board.close()
        bench.context.destroy(0)
