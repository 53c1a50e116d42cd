"""Run ``run_stream.py`` as a separate process and watch it from outside.

The ages of results come from two public files. A line of ``tracks.jsonl`` gives the media time of a frame, and its
arrival the time of writing. For a live source their difference is the age of the frame plus a constant. The constant is
chosen so that the median age equals the one in ``run.json``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from pipeline.errors import INTERRUPTED, PipelineError

ROOT = Path(__file__).resolve().parent.parent
POLL_S = 0.01  # resolution of arrival times
_STOP_TIMEOUT_S = 60.0


class Result(NamedTuple):
    """A new line of ``tracks.jsonl``.

    Attributes:
        frame: frame number in the source.
        pts: media time in s.
        arrival_s: monotonic time in s at which the line was read.
    """

    frame: int
    pts: float
    arrival_s: float


class RunFailed(PipelineError):
    """The watched run did not end as it should."""

    exit_code = 1


class _Line(Struct):
    frame: int
    pts: float


_line = msgspec.json.Decoder(_Line)


class WatchedRun:
    """Context manager that starts ``run_stream.py`` and leaves no process or file behind.

    Args:
        sources: addresses of the sources.
        settings: settings as ``key.path=value``.
        policy: drop policy of the run; None means the default.

    Attributes:
        results: lines read so far, by source id.
        pid: process id of ``run_stream.py``.
    """

    def __init__(self, sources: Sequence[str], settings: Sequence[str] = (), policy: str | None = None) -> None:
        self._sources, self._policy = list(sources), ["--policy", policy] if policy else []
        self._settings = [word for setting in settings for word in ("--set", setting)]
        self._offsets: dict[str, int] = {}
        self._record: dict[str, Any] | None = None
        self.results: dict[str, list[Result]] = {}

    def __enter__(self) -> WatchedRun:
        self._folder = tempfile.TemporaryDirectory(prefix="run-")
        base = Path(self._folder.name)
        self._out = base / "out"
        self._errors = tempfile.TemporaryFile("w+")
        command = [sys.executable, str(ROOT / "run_stream.py"), *self._sources, *self._settings, *self._policy]
        self._process = subprocess.Popen(
            [*command, "--out", str(self._out)],
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env={**os.environ, "TMPDIR": str(base)},
            start_new_session=True,
        )
        self.pid = self._process.pid
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._errors.close()
        self._folder.cleanup()

    def watch(self, until: Callable[[], bool]) -> None:
        """Read results until a condition holds or the run ends; at the end of the run read all that is left."""
        while self._process.poll() is None and not until():
            self._poll()
            time.sleep(POLL_S)
        self._poll()

    def started(self) -> bool:
        """Return whether every source has produced a result."""
        return len(self.results) == len(self._sources)

    @property
    def is_running(self) -> bool:
        """Whether the run has not ended."""
        return self._process.poll() is None

    def lasted(self, seconds: float) -> Callable[[], bool]:
        """Return a function that tells whether so many seconds have passed since this call."""
        end = time.monotonic() + seconds
        return lambda: time.monotonic() >= end

    def stop(self) -> dict[str, Any]:
        """End the run as Ctrl+C does if it is still running, and return the contents of its ``run.json``.

        Raises:
            RunFailed: the run failed; the message contains its standard error.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self.watch(self.lasted(_STOP_TIMEOUT_S))
        code = self._process.poll()
        if code not in (0, INTERRUPTED):
            self._errors.seek(0)
            words = " ".join(self._errors.read().split()[-40:])
            raise RunFailed(
                f"the run did not end within {_STOP_TIMEOUT_S:g} s" if code is None else f"exit code {code}: {words}"
            )
        self._record = json.loads((self._out / "run.json").read_text())
        return self._record

    def ages(self, source: str, skip_s: float = 0.0) -> list[tuple[float, float]]:
        """Return (time since the first result, age) in s for the results of a live source, after the run has ended.

        Args:
            source: source id.
            skip_s: skip the results of so many seconds after the first one.
        """
        results = self.results.get(source, [])
        if not results or self._record is None:
            return []
        raw = np.array([result.arrival_s - result.pts for result in results])
        raw += self._record["sources"][source]["latency_ms"]["total"]["p50"] / 1000 - np.median(raw)
        first = results[0].arrival_s
        since = [result.arrival_s - first for result in results]
        return [(s, age) for s, age in zip(since, raw.tolist(), strict=True) if s >= skip_s]

    def _poll(self) -> None:
        for path in self._out.glob("*/tracks.jsonl"):
            source = path.parent.name
            with path.open("rb") as file:
                file.seek(self._offsets.get(source, 0))
                block = file.read()
            whole = block.rfind(b"\n") + 1
            self._offsets[source] = self._offsets.get(source, 0) + whole
            now = time.monotonic()
            for line in block[:whole].splitlines():
                seen = _line.decode(line)
                self.results.setdefault(source, []).append(Result(seen.frame, seen.pts, now))


def exit_on_sigterm() -> None:
    """Make SIGTERM exit this program normally, so that no run is left behind."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def sustainable_rate(scene: str, settings: Sequence[str] = ()) -> tuple[float, dict[str, Any]]:
    """Measure the rate in frames per second at which the pipeline processes a scene under the lossless policy.

    Returns:
        The rate, and the contents of ``run.json``.

    Raises:
        RunFailed: the run failed.
    """
    with WatchedRun([scene], settings, "lossless") as run:
        run.watch(lambda: False)
        record = run.stop()
    (source,) = record["sources"].values()
    if source["fps"] <= 0:
        raise RunFailed(f"{scene}: too few frames to measure a rate")
    return source["fps"], record
