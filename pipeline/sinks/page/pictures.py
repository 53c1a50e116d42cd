"""The newest overlay of every source, handed from the sink stage to the viewers of the live page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Literal

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

JPEG_QUALITY = 85
WATCHED_S = 3.0
"""A source is being watched for this long after a viewer has asked for its picture."""
UNWATCHED_S = 1.0
"""Interval at which sources that nobody watches are drawn, so that a viewer who comes late sees their last second."""

State = Literal["waiting", "live", "finished", "stopped", "failed"]


class Shot:
    """One overlay, compressed once, when the first viewer needs it, in the thread of that viewer.

    Args:
        shown_ns: when it was shown, monotonic time in ns; identifies the shot among those of its source.
        canvas: (H, W, 3) BGR image, which nobody changes any more.
    """

    def __init__(self, shown_ns: int, canvas: NDArray[np.uint8]) -> None:
        self.shown_ns, self.number = shown_ns, str(shown_ns)
        self._canvas: NDArray[np.uint8] | None = canvas
        self._jpeg = b""
        self._lock = threading.Lock()

    def jpeg(self) -> bytes:
        """Return the picture as JPEG."""
        with self._lock:
            if self._canvas is not None:
                self._jpeg = cv2.imencode(".jpg", self._canvas, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes()
                self._canvas = None
            return self._jpeg


class Seen(Struct):
    """What the page tells about a source.

    Attributes:
        source: id of the source.
        state: ``waiting`` for its first frame, ``live``, or how it ended.
        error: why it failed.
    """

    source: str
    state: State = "waiting"
    error: str = ""


class Pictures:
    """Newest overlays and states of all sources; safe to use from several threads.

    Sources that nobody watches are seldom drawn and never compressed.

    Args:
        sources: ids of all sources.
        max_fps: most pictures per second and source.
        clock: returns monotonic time in ns.
    """

    def __init__(self, sources: Iterable[str], max_fps: float, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._interval_ns, self._clock = round(1e9 / max_fps), clock
        self._seen = {source: Seen(source) for source in sources}
        self._shots: dict[str, Shot] = {}
        self._due_ns = dict.fromkeys(self._seen, 0)
        self._watched_until_ns = dict.fromkeys(self._seen, 0)
        self._news = threading.Condition()
        self._closed = False

    def wanted(self, source: str) -> bool:
        """Whether the next frame of a source is to be drawn: the next picture is due."""
        now, shot = self._clock(), self._shots.get(source)
        if now < self._watched_until_ns[source] or shot is None:
            return now >= self._due_ns[source]
        return now >= max(self._due_ns[source], shot.shown_ns + round(UNWATCHED_S * 1e9))

    def show(self, source: str, canvas: NDArray[np.uint8]) -> None:
        """Replace the picture of a source.

        Args:
            source: id of the source.
            canvas: (H, W, 3) BGR image; it must not be changed afterwards.
        """
        now = self._clock()
        # Counted from when the picture was due, so that a camera slightly faster than the limit keeps to the limit
        # instead of half of its own rate.
        self._due_ns[source] = max(self._due_ns[source] + self._interval_ns, now)
        with self._news:
            self._shots[source] = Shot(now, canvas)
            self._news.notify_all()

    def begin(self, source: str) -> None:
        """Note that a source has delivered a frame."""
        self._seen[source].state = "live"

    def end(self, source: str, state: State, error: str) -> None:
        """Note how a source has ended; its last picture stays."""
        self._seen[source] = Seen(source, state, error)

    def seen(self) -> list[Seen]:
        """Return the states of all sources, in the order of the command line."""
        return list(self._seen.values())

    def wait(self, source: str, have: str, timeout_s: float) -> Shot | None:
        """Return the newest picture of a source as soon as there is one with another number; None if there is none.

        Args:
            source: id of the source.
            have: number of the picture that the viewer has; empty if it has none.
            timeout_s: longest wait, s.

        Raises:
            KeyError: there is no such source.
        """
        if source not in self._seen:
            raise KeyError(source)
        self._watched_until_ns[source] = self._clock() + round(WATCHED_S * 1e9)

        def is_new() -> bool:
            shot = self._shots.get(source)
            return self._closed or (shot is not None and shot.number != have)

        with self._news:
            self._news.wait_for(is_new, timeout_s)
            shot = self._shots.get(source)
            return shot if shot is not None and shot.number != have and not self._closed else None

    def age_ms(self, shot: Shot) -> int:
        """Return for how long a picture has been shown, ms."""
        return (self._clock() - shot.shown_ns) // 1_000_000

    @property
    def closed(self) -> bool:
        """Whether there will be no more pictures of any source."""
        return self._closed

    def close(self) -> None:
        """Release all viewers."""
        with self._news:
            self._closed = True
            self._news.notify_all()
