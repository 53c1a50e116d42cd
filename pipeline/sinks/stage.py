"""The last stage: writes and shows what was found, and keeps the books of what was delivered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.errors import ConfigError
from pipeline.link import SourceReport
from pipeline.messages import CONFIRMED, EndOfSource, Packet, Tracked, source_of
from pipeline.sinks.config import SinkConfig
from pipeline.sinks.folder import claim
from pipeline.sinks.jsonl import detections_line, tracks_line
from pipeline.sinks.latency import LatencyHistogram
from pipeline.sinks.lines import LineFile
from pipeline.sinks.mot import mot_lines
from pipeline.sinks.overlay import Overlay
from pipeline.sinks.video_file import VideoFile
from pipeline.sinks.window import Window


class SinkStage:
    """Consumes ``Tracked`` and ``EndOfSource``; passes nothing on.

    Args:
        config: what to write and show.
        out: folder of the run, made if missing; none writes nothing.
        on_quit: called when a person at the window wants to stop.
        clock: monotonic time in ns.
    """

    batch_size = 1
    window_s = 0.0

    def __init__(
        self,
        config: SinkConfig,
        out: Path | None,
        on_quit: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._config, self._out, self._on_quit, self._clock = config, out, on_quit, clock
        self._window: Window | None = None
        self._files: dict[str, _SourceFiles] = {}
        self._books: dict[str, _Book] = {}
        self._overlays: dict[str, Overlay] = {}

    def open(self) -> None:
        """Make the output folder and look for a display.

        Raises:
            ConfigError: the folder cannot be made, or there is no display.
        """
        if self._out is not None:
            claim(self._out)
        if self._config.display:
            self._window = Window(self._on_quit)

    def process(self, packets: Sequence[Packet]) -> Iterable[Packet]:
        """Write and show.

        Raises:
            StageError: a file cannot be written.
            ConfigError: a file cannot be created.
        """
        for message, picture in packets:
            source = source_of(message)
            book = self._books.setdefault(source, _Book())
            files = self._open_source(source)
            if isinstance(message, EndOfSource):
                book.end(message)
                self._finish(source)
            elif isinstance(message, Tracked) and picture is not None:
                now = self._clock()
                if self._window is not None or (files is not None and files.video is not None):
                    canvas = self._draw(message, picture, now)
                    if files is not None and files.video is not None:
                        files.video.write(message.header, canvas)
                    if self._window is not None:
                        self._window.show(source, canvas)
                if files is not None:
                    files.write(message)
                book.count(message, now)
            else:
                raise TypeError(f"the last stage cannot take a {type(message).__name__}")
        return ()

    def close(self) -> None:
        """Complete all files, also those of sources that have not ended."""
        with ExitStack() as each:  # one that fails does not keep the others from being completed
            for source in list(self._files):
                each.callback(self._finish, source)

    def facts(self) -> Mapping[str, str]:
        """Nothing worth a record."""
        return {}

    def reports(self) -> Mapping[str, SourceReport]:
        """What was delivered so far, by source."""
        return {source: book.report() for source, book in self._books.items()}

    def _draw(self, message: Tracked, picture: Picture, now: int) -> NDArray[np.uint8]:
        source = message.header.source
        if source not in self._overlays:
            self._overlays[source] = Overlay(self._config.overlay_scale, self._config.trail_s)
        age_ms = max(0, now - message.header.capture_mono_ns) / 1e6
        return self._overlays[source].draw(message, picture, age_ms)

    def _open_source(self, source: str) -> _SourceFiles | None:
        if self._out is None:
            return None
        if source not in self._files:
            folder = (self._out / source).resolve()
            if folder.parent != self._out.resolve():
                raise ConfigError(f"source {source} would be written outside {self._out}")
            claim(folder)
            self._files[source] = _SourceFiles(folder, self._config)
        return self._files[source]

    def _finish(self, source: str) -> None:
        self._overlays.pop(source, None)
        if self._window is not None:
            self._window.close(source)
        if source in self._files:
            self._files.pop(source).close()


class _SourceFiles:
    """The files of one source."""

    def __init__(self, folder: Path, config: SinkConfig) -> None:
        writers = []
        if config.jsonl:
            writers += [("tracks.jsonl", tracks_line), ("detections.jsonl", detections_line)]
        if config.mot:
            writers += [("tracks.mot.txt", mot_lines)]
        self._lines = [(LineFile(folder / name), render) for name, render in writers]
        self.video = VideoFile(folder / "overlay.mp4") if config.overlay else None

    def write(self, message: Tracked) -> None:
        for file, render in self._lines:
            file.write(render(message))

    def close(self) -> None:
        with ExitStack() as each:
            for file, _ in self._lines:
                each.callback(file.close)
            if self.video is not None:
                each.callback(self.video.close)


class _Book:
    """What is known of one source's deliveries."""

    def __init__(self) -> None:
        self._delivered = 0
        self._confirmed: set[int] = set()
        self._first_ns = self._last_ns = 0
        self._latency: dict[str, LatencyHistogram] = {}
        self._end: EndOfSource | None = None

    def count(self, message: Tracked, now: int) -> None:
        header, tracks = message.header, message.track_table()
        self._first_ns = self._first_ns if self._delivered else now
        self._last_ns = now
        self._delivered += 1
        self._confirmed.update(tracks["id"][tracks["state"] == CONFIRMED].tolist())
        for stage, leave_ns in (*((stamp.stage, stamp.leave_ns) for stamp in header.stamps), ("total", now)):
            self._latency.setdefault(stage, LatencyHistogram()).add(leave_ns - header.capture_mono_ns)

    def end(self, message: EndOfSource) -> None:
        self._end = message

    def report(self) -> SourceReport:
        elapsed = (self._last_ns - self._first_ns) / 1e9
        return SourceReport(
            delivered=self._delivered,
            tracks_confirmed=len(self._confirmed),
            fps=round((self._delivered - 1) / elapsed, 2) if elapsed > 0 else 0.0,
            latency={stage: histogram.summary() for stage, histogram in self._latency.items()},
            end=self._end.reason if self._end else "",
            error=self._end.error if self._end else "",
        )
