"""The last stage: writes and displays results, and counts delivered frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from pipeline.capture.source import Picture
from pipeline.control_link import SourceReport
from pipeline.detect.masks import Polygon, polygons_of
from pipeline.errors import ConfigError
from pipeline.journal import Journal
from pipeline.messages import EndOfSource, Packet, Tracked, source_of
from pipeline.sinks.config import SinkConfig
from pipeline.sinks.counters import Counters
from pipeline.sinks.folder import claim
from pipeline.sinks.overlay import Overlay
from pipeline.sinks.page.server import LivePage
from pipeline.sinks.source_files import SourceFiles
from pipeline.sinks.video_file import OverlayVideo
from pipeline.sinks.window import Window


class SinkStage:
    """Consumes ``Tracked`` and ``EndOfSource`` messages and produces none.

    Args:
        config: what to write and display.
        out: output folder of the run, created if missing; None writes nothing.
        on_quit: called when the user asks to stop in a window.
        clock: returns monotonic time in ns.
        attempt: number of times the stage has died before.
        journal: journal of the stage, if it may be restarted; counters and files then continue.
        masks: ignore masks of the detector to display, polygons by source.
        sources: ids of all sources, for the live page.
    """

    batch_size = 1
    window_s = 0.0

    def __init__(
        self,
        config: SinkConfig,
        out: Path | None,
        on_quit: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = time.monotonic_ns,
        attempt: int = 0,
        journal: Journal | None = None,
        masks: Mapping[str, Sequence[Polygon]] = MappingProxyType({}),
        sources: Sequence[str] = (),
    ) -> None:
        self._config, self._out, self._on_quit, self._clock = config, out, on_quit, clock
        self._attempt, self._journal, self._masks, self._sources = attempt, journal, masks, sources
        self._window: Window | None = None
        self._page: LivePage | None = None
        self._files: dict[str, SourceFiles] = {}
        self._counters: dict[str, Counters] = {}
        self._overlays: dict[str, Overlay] = {}

    def open(self) -> None:
        """Create the output folder, check for a display if one is needed, and serve the live page.

        Raises:
            ConfigError: the folder cannot be created, there is no display, or the page cannot be served.
        """
        if self._out is not None:
            claim(self._out)
        if self._config.display:
            self._window = Window(self._on_quit)
        if self._config.page.port is not None:
            self._page = LivePage(self._config.page, self._sources)

    def process(self, packets: Sequence[Packet]) -> Iterable[Packet]:
        """Write and display results.

        Raises:
            StageError: a file cannot be written.
            ConfigError: a file cannot be created.
        """
        for message, picture in packets:
            source = source_of(message)
            counters = self._counters_of(source)
            # A source that ends without a frame leaves the results of earlier runs alone.
            files = self._open_source(source, counters) if isinstance(message, Tracked) or counters.opened else None
            if isinstance(message, EndOfSource):
                counters.end(message)
                self._finish(source)
                if self._page is not None:
                    self._page.end(message)
            elif isinstance(message, Tracked) and picture is not None:
                if message.header.seq < counters.next_seq:
                    continue  # written before a restart, but not yet acknowledged
                now = self._clock()
                self._display(message, picture, files.video if files is not None else None, now)
                if files is not None:
                    files.write(message)
                counters.count(message, now)
            else:
                raise TypeError(f"the last stage cannot take a {type(message).__name__}")
        return ()

    def close(self) -> None:
        """Complete all files, including those of sources that have not ended."""
        with ExitStack() as each:  # completes the others even if one fails
            for source in list(self._files):
                each.callback(self._finish, source)
            if self._page is not None:
                each.callback(self._page.close)

    def facts(self) -> Mapping[str, str]:
        """Return the address of the live page, if there is one."""
        return {"page": self._page.url} if self._page is not None else {}

    def reports(self) -> Mapping[str, SourceReport]:
        """Return a report of the results so far, by source."""
        return {source: counters.report() for source, counters in self._counters.items()}

    def _display(self, message: Tracked, picture: Picture, video: OverlayVideo | None, now: int) -> None:
        """Draw the overlay for those who want it: the video and the window every frame, the page now and then."""
        source = message.header.source
        on_page = self._page is not None and self._page.wants(source)
        if video is not None or self._window is not None or on_page:
            canvas = self._overlay_of(source).draw(message, picture, max(0, now - message.header.capture_mono_ns) / 1e6)
            if video is not None:
                video.write(message.header, canvas)
            if self._window is not None:
                self._window.show(source, canvas)
            if self._page is not None and on_page:
                self._page.show(source, canvas)
        elif self._page is not None:
            self._overlay_of(source).follow(message)

    def _overlay_of(self, source: str) -> Overlay:
        if source not in self._overlays:
            masked = polygons_of(self._masks, source)
            self._overlays[source] = Overlay(self._config.overlay_scale, self._config.trail_s, masked)
        return self._overlays[source]

    def _counters_of(self, source: str) -> Counters:
        if source not in self._counters:
            self._counters[source] = Counters(self._journal.row(source) if self._journal is not None else None)
        return self._counters[source]

    def _open_source(self, source: str, counters: Counters) -> SourceFiles | None:
        if self._out is None:
            return None
        if source not in self._files:
            folder = (self._out / source).resolve()
            if folder.parent != self._out.resolve():
                raise ConfigError(f"source {source} would be written outside {self._out}")
            claim(folder)
            self._files[source] = SourceFiles(folder, self._config, self._attempt if counters.opened else 0)
            counters.add_confirmed(self._files[source].confirmed)
            counters.opened = True
        return self._files[source]

    def _finish(self, source: str) -> None:
        self._overlays.pop(source, None)
        if self._window is not None:
            self._window.close(source)
        if source in self._files:
            self._files.pop(source).close()
