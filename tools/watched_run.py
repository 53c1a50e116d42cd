"""A run of the front door as a process of its own, watched from outside while it goes on.

Ages of results come from two public files. A line of ``tracks.jsonl`` gives a frame's media time, and its arrival
gives the time of writing; of a live source their difference is the frame's age but for a constant. The constant is
chosen so that the median age is the one that ``run.json`` states for the same frames.
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
POLL_S = 0.01
_STOP_TIMEOUT_S = 60.0


class Result(NamedTuple):
    """A line of ``tracks.jsonl`` that has come.

    Attributes:
        frame: number in the medium.
        pts: media time in s.
        arrival_s: monotonic time at which it was seen.
    """

    frame: int
    pts: float
    arrival_s: float


class RunFailed(PipelineError):
    """The run that was watched ended otherwise than it should."""

    exit_code = 1


class _Line(Struct):
    frame: int
    pts: float


_line = msgspec.json.Decoder(_Line)


class WatchedRun:
    """Starts ``run_stream.py``; as a context manager it leaves nothing behind.

    Args:
        sources: addresses.
        settings: ``key.path=value``.
        policy: of the run; none means the default.

    Attributes:
        results: lines seen so far, by source id.
        pid: process id of the front door.
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
            env={**os.environ, "XDG_RUNTIME_DIR": str(base)},
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
        """Take in results until a condition holds or the run ends, and all that is left where it has ended."""
        while self._process.poll() is None and not until():
            self._poll()
            time.sleep(POLL_S)
        self._poll()

    def started(self) -> bool:
        """Every source has given a result."""
        return len(self.results) == len(self._sources)

    @property
    def is_running(self) -> bool:
        """The run has not ended."""
        return self._process.poll() is None

    def lasted(self, seconds: float) -> Callable[[], bool]:
        """Whether so much time has passed since now."""
        end = time.monotonic() + seconds
        return lambda: time.monotonic() >= end

    def stop(self) -> dict[str, Any]:
        """End the run as Ctrl+C does, if it goes on; its ``run.json``.

        Raises:
            RunFailed: the run went wrong; gives its own words.
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
        """Time since the first result and age, both in s, of the results of a live source whose run has ended.

        Args:
            source: id.
            skip_s: results of so long after the first one are left out.
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
    """Let SIGTERM end this program as an exit does, so that no run is left behind."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def sustainable_rate(scene: str, settings: Sequence[str] = ()) -> tuple[float, dict[str, Any]]:
    """Frames per second at which a scene that waits for its frames to be taken goes through, and its ``run.json``.

    Raises:
        RunFailed: the run went wrong.
    """
    with WatchedRun([scene], settings, "lossless") as run:
        run.watch(lambda: False)
        record = run.stop()
    (source,) = record["sources"].values()
    if source["fps"] <= 0:
        raise RunFailed(f"{scene}: too few frames to measure a rate")
    return source["fps"], record
