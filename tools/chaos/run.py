"""One run of the front door under fire: its processes, its files as they grow, its end."""

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
from pipeline.private import STATUS
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
EXIT_GRACE_S = 5.0
SWEEP_SCENE = "test://demo?width=64&height=64&frames=2"


class Stuck(Exception):
    """Something that must happen did not."""


class Run:
    """A run of ``run_stream.py``, every stage in a process of its own.

    Args:
        addresses: of the sources.
        scratch: empty folder for everything that the run writes, with a path short enough for sockets.
        settings: ``key.path=value``, over ``SETTINGS``.
        tool: what is preloaded into the run: a time of day of its own, or calls that do not return.
        camera: the server of a live source, for injections that are dealt to it.
        out: output folder; one in the scratch folder if not given.
        within: command that the run is started by, with the run's own behind it.
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
        self.environment = {**os.environ, **(tool.environment if tool else {}), "XDG_RUNTIME_DIR": str(self.runtime)}
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
        """Its sources wait for their reader."""
        return not any(map(is_live, self.addresses))

    def named(self, stage: str, source: str | None = None) -> str:
        """Name of a stage in the graph; of the first source's capture where none is named."""
        return f"capture.{source or self.sources[0]}" if stage == "capture" else stage

    def pids(self) -> dict[str, int]:
        """Process ids of the stages that run at the moment, by name."""
        found = {}
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                with contextlib.suppress(psutil.Error):
                    words = child.cmdline()
                    if "pipeline.worker" in words and child.status() != psutil.STATUS_ZOMBIE:
                        found[words[-1]] = child.pid
        return found

    def pid(self, stage: str) -> int:
        """Process id of a stage.

        Raises:
            Stuck: it has none.
        """
        try:
            return self.pids()[self.named(stage)]
        except KeyError:
            raise Stuck(f"stage {stage} has no process") from None

    def written(self, only: str | None = None) -> int:
        """Whole lines in the tracks of one source or of all."""
        for source in self.sources:
            offset, count = self._read[source]
            with contextlib.suppress(FileNotFoundError), (self.out / source / "tracks.jsonl").open("rb") as file:
                file.seek(offset)
                fresh = file.read()
                self._read[source] = offset + fresh.rfind(b"\n") + 1, count + fresh.count(b"\n")
        return sum(count for source, (_, count) in self._read.items() if only in (None, source))

    def wait(self, condition: Callable[[], object], what: str, seconds: float = TIMEOUT_S) -> None:
        """Until a condition holds.

        Raises:
            Stuck: the run has ended, or it took too long.
        """
        limit = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise Stuck(f"the run ended with {self.process.returncode} before {what}: {self._last_error()}")
            if time.monotonic() > limit:
                raise Stuck(f"{what}: not within {seconds:g} s")
            time.sleep(PAUSE_S)

    def wait_for_lines(self, count: int, only: str | None = None) -> None:
        """Until so many lines, of one source or of all, have been written besides those that are there now."""
        goal = self.written(only) + count
        self.wait(lambda: self.written(only) >= goal, f"{count} more lines")

    def under_way(self) -> None:
        """Until all stages work, and the first second of video is on the disk."""
        self.wait_for_lines(10)
        if self.config.sinks.overlay:
            video = self.out / self.sources[0] / "overlay.mp4"
            self.wait(lambda: video.exists() and video.stat().st_size, "the first second of video")

    def send(self, stage: str, number: signal.Signals) -> int:
        """Signal a stage; its process id."""
        pid = self.pid(stage)
        os.kill(pid, number)
        return pid

    def recovered(self, since: float, stages: Mapping[str, int]) -> float:
        """Wait until stages work again, and the next line, of its own source for a capture, has come after that.

        Args:
            since: monotonic seconds of the inject.
            stages: process ids of those that it hit, by name in the graph.

        Returns:
            seconds since the inject.
        """
        self.wait(
            lambda: all(self._works(name, old) for name, old in stages.items()), f"{', '.join(stages)} work again"
        )
        source = next((name.partition(".")[2] for name in stages if name.startswith("capture.")), None)
        self.wait_for_lines(1, source)
        self.recoveries.append(time.monotonic() - since)
        return self.recoveries[-1]

    def status(self) -> RunStatus:
        """What the run says of itself.

        Raises:
            SourceError: it does not answer.
        """
        return client.status(next(self.runtime.glob(f"irst-*/{STATUS}"), self.runtime / STATUS))

    def _works(self, name: str, old: int) -> bool:
        """A stage is in a later life than that of process ``old``, by its own word, and has got ready."""
        with contextlib.suppress(SourceError):
            stage = self.status().stages[name]
            return stage.pid != old and stage.state in ("running", "drained")
        return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the run to end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def members(self) -> list[psutil.Process]:
        """All processes that belong to the run, whoever their parent is now: they share its folder for sockets."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.environ().get("XDG_RUNTIME_DIR") == str(self.runtime)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def finish(self) -> Evidence:
        """Wait for the end, and look at what is left. What a killed run leaves is swept by the next one."""
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
        """Leave no process, whatever has happened."""
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()

    def lengths(self) -> dict[str, int]:
        """Frames of the sources that are not live."""
        lengths = {}
        for id_, address in zip(self.sources, self.addresses, strict=True):
            if not is_live(address):
                source = open_source(address, self.config.capture)
                source.open()
                lengths[id_] = source.length or 0
                source.close()
        return lengths

    def _last_error(self) -> str:
        return (self._errors.read_text(errors="replace").splitlines() or ["no error told"])[-1]
