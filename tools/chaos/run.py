"""A run of ``run_stream.py`` for fault injection: its processes, its growing output files and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from pipeline import config as configuration
from pipeline.capture.address import source_ids
from pipeline.capture.factory import is_live, open_source
from pipeline.errors import SourceError
from pipeline.health import client
from pipeline.health.status import RunStatus
from pipeline.run_folder import STATUS
from tools.chaos.camera import Camera
from tools.chaos.evidence import Evidence, read_files, read_record
from tools.chaos.wall_clock import WallClock
from tools.chaos.wedge import Wedge

RUN_STREAM = Path(__file__).resolve().parents[2] / "run_stream.py"
STAGES = ("capture", "preprocess", "detect", "track", "sinks")
SETTINGS = (
    *(f"placement.{stage}=process" for stage in STAGES),
    "detect.threads=1",
    "supervisor.start_s=60",
    "supervisor.backoff_s=0.1",
    "capture.read_timeout_s=2",
    "capture.reconnect.initial_s=0.1",
    "capture.reconnect.max_s=1",
)
PAUSE_S = 0.02
TIMEOUT_S = 120.0
EXIT_GRACE_S = 5.0  # for processes of the run after the main process has ended
# A run of this scene cleans up what a killed run left in the folder for sockets.
SWEEP_SCENE = "test://demo?width=64&height=64&frames=2"


class Stuck(Exception):
    """An expected event did not happen: the run ended before it, or a timeout expired."""


class Run:
    """A run of ``run_stream.py`` with every stage in a separate process.

    Args:
        addresses: addresses of the sources.
        scratch: empty folder for everything that the run writes, with a path short enough for sockets.
        settings: settings as ``key.path=value``, which override ``SETTINGS``.
        tool: code preloaded into the run: an adjustable wall clock, or system calls that do not return.
        camera: server of a live source, for injections that act on the camera.
        out: output folder; defaults to one in the scratch folder.
        within: prefix of the command line, a command that executes the run.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        scratch: Path,
        settings: Sequence[str] = (),
        tool: WallClock | Wedge | None = None,
        camera: Camera | None = None,
        out: Path | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.addresses, self.sources = list(addresses), source_ids(addresses)
        self.out = out or scratch / "out"
        self.runtime = scratch / "rt"
        self.runtime.mkdir()
        settings = [*SETTINGS, *settings]
        self.config = configuration.load(None, settings)
        self.tool, self.camera = tool, camera
        self.recoveries: list[float] = []
        self._errors = scratch / "stderr"
        self._read = dict.fromkeys(self.sources, (0, 0))
        self.environment = {**os.environ, **(tool.environment if tool else {}), "TMPDIR": str(self.runtime)}
        words = [word for setting in settings for word in ("--set", setting)]
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*within, sys.executable, str(RUN_STREAM), *self.addresses, *words, "--out", str(self.out)],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self.environment,
                start_new_session=True,
            )

    @property
    def lossless(self) -> bool:
        """Whether the sources are files, which wait for their reader."""
        return not any(map(is_live, self.addresses))

    def named(self, stage: str, source: str | None = None) -> str:
        """Return the name of a stage in the graph. Capture is that of the first source unless a source is given."""
        return f"capture.{source or self.sources[0]}" if stage == "capture" else stage

    def pids(self) -> dict[str, int]:
        """Return the process ids of the running stages, by name."""
        found = {}
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                with contextlib.suppress(psutil.Error):
                    words = child.cmdline()
                    if "pipeline.worker" in words and child.status() != psutil.STATUS_ZOMBIE:
                        found[words[-1]] = child.pid
        return found

    def pid(self, stage: str) -> int:
        """Return the process id of a stage.

        Raises:
            Stuck: the stage has no process.
        """
        try:
            return self.pids()[self.named(stage)]
        except KeyError:
            raise Stuck(f"stage {stage} has no process") from None

    def written(self, only: str | None = None) -> int:
        """Count the complete lines in ``tracks.jsonl`` of one source or of all."""
        for source in self.sources:
            offset, count = self._read[source]
            with contextlib.suppress(FileNotFoundError), (self.out / source / "tracks.jsonl").open("rb") as file:
                file.seek(offset)
                fresh = file.read()
                self._read[source] = offset + fresh.rfind(b"\n") + 1, count + fresh.count(b"\n")
        return sum(count for source, (_, count) in self._read.items() if only in (None, source))

    def wait(self, condition: Callable[[], object], what: str, seconds: float = TIMEOUT_S) -> None:
        """Wait until a condition holds.

        Args:
            condition: returns something true when it holds.
            what: name of the expected event, for error messages.
            seconds: timeout.

        Raises:
            Stuck: the run has ended, or the timeout has expired.
        """
        limit = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise Stuck(f"the run ended with {self.process.returncode} before {what}: {self._last_error()}")
            if time.monotonic() > limit:
                raise Stuck(f"{what}: not within {seconds:g} s")
            time.sleep(PAUSE_S)

    def wait_for_lines(self, count: int, only: str | None = None) -> None:
        """Wait until so many more lines of one source or of all have been written."""
        goal = self.written(only) + count
        self.wait(lambda: self.written(only) >= goal, f"{count} more lines")

    def under_way(self) -> None:
        """Wait until all stages work and the first second of video is on the disk."""
        self.wait_for_lines(10)
        if self.config.sinks.overlay:
            video = self.out / self.sources[0] / "overlay.mp4"
            self.wait(lambda: video.exists() and video.stat().st_size, "the first second of video")

    def send(self, stage: str, number: signal.Signals) -> int:
        """Send a signal to a stage and return its process id."""
        pid = self.pid(stage)
        os.kill(pid, number)
        return pid

    def recovered(self, since: float, stages: Mapping[str, int]) -> float:
        """Wait until the stages work again and then one more line has been written.

        If one of the stages is a capture, the line must come from its source.

        Args:
            since: monotonic time of the injection in s.
            stages: previous process ids of the affected stages, by name in the graph.

        Returns:
            Seconds since the injection.
        """
        self.wait(
            lambda: all(self._works(name, old) for name, old in stages.items()), f"{', '.join(stages)} work again"
        )
        source = next((name.partition(".")[2] for name in stages if name.startswith("capture.")), None)
        self.wait_for_lines(1, source)
        self.recoveries.append(time.monotonic() - since)
        return self.recoveries[-1]

    def status(self) -> RunStatus:
        """Query the status of the run.

        Raises:
            SourceError: the run does not answer.
        """
        return client.status(next(self.runtime.glob(f"irst-*/{STATUS}"), self.runtime / STATUS))

    def _works(self, name: str, old: int) -> bool:
        """Return whether a stage reports another process id than ``old`` and is ready."""
        with contextlib.suppress(SourceError):
            stage = self.status().stages[name]
            return stage.pid != old and stage.state in ("running", "drained")
        return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the main process, by default SIGTERM."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def members(self) -> list[psutil.Process]:
        """Return all processes of the run, found by its folder for sockets because their parents may have died."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.environ().get("TMPDIR") == str(self.runtime)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def finish(self) -> Evidence:
        """Wait for the end and collect the evidence.

        After SIGKILL another run is started first, because it cleans up what a killed run leaves.
        """
        try:
            code = self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Stuck(f"the run does not end: {self._last_error()}") from None
        limit = time.monotonic() + EXIT_GRACE_S
        while self.members() and time.monotonic() < limit:
            time.sleep(PAUSE_S)
        survivors = [" ".join(process.cmdline()[:6]) for process in self.members()]
        if code == -signal.SIGKILL:
            subprocess.run(
                [sys.executable, str(RUN_STREAM), SWEEP_SCENE], env=self.environment, capture_output=True, check=False
            )
        return Evidence(
            exit_code=code,
            errors=self._errors.read_text(errors="replace"),
            record=read_record(self.out),
            files={source: read_files(self.out / source) for source in self.sources},
            lengths=self.lengths(),
            survivors=survivors,
            leftovers=[entry.name for entry in self.runtime.iterdir()],
            recoveries=self.recoveries,
        )

    def clear(self) -> None:
        """Kill all processes that are left of the run."""
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()

    def lengths(self) -> dict[str, int]:
        """Return the number of frames of each source that is not live."""
        lengths = {}
        for id_, address in zip(self.sources, self.addresses, strict=True):
            if not is_live(address):
                source = open_source(address, self.config.capture)
                source.open()
                lengths[id_] = source.length or 0
                source.close()
        return lengths

    def _last_error(self) -> str:
        return (self._errors.read_text(errors="replace").splitlines() or ["no error reported"])[-1]
