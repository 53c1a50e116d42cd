"""A live medium that may be lost and found again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol

from pipeline.capture.config import CaptureConfig
from pipeline.capture.picture import bits_in_use
from pipeline.capture.source import Grab, Picture
from pipeline.errors import SourceError
from pipeline.opencv import require

log = logging.getLogger(__name__)
_LENGTH_SLACK = 0.05
"""Share of the declared frames that may be missing at the end: servers declare a duration, not a count."""


class EndOfMedium(Exception):
    """A medium whose length was not known is at its end."""


class Feed(Protocol):
    """One connection to a live medium, from opening to loss.

    Attributes:
        frames: length of a finite medium, 0 for an endless one.
        notice: see ``pipeline.capture.source.Source``.
    """

    frames: int
    notice: str

    def read(self) -> Picture | Grab | None:
        """Wait for the next picture; None when the connection is lost or silent for too long.

        A medium that numbers its pictures and has a clock gives whole grabs.

        Raises:
            EndOfMedium: the medium says that there will be no more.
        """

    def close(self) -> None:
        """Release the connection."""


class LiveSource:
    """Reads one connection after another.

    The first connection must succeed, unless the medium was seen before. When a later one is lost, ``grab`` looks
    for the medium again, with exponential back-off, while it keeps its caller waiting; frames are numbered on. A
    medium that is finite or would begin again ends instead.

    ``close`` never waits. A ``grab`` that waits in another thread meanwhile returns at once when it waits
    between two attempts, within the read time-out when the medium hangs, within the open time-out when a
    connection is being made.

    Args:
        name: address with credentials masked.
        connect: makes a connection; raises SourceError with one line that names the medium.
        config: time-outs and back-off.
        live: pictures come at their own pace.
        replays: a later connection begins with the first picture.
        seen: a reader before this one, which has died, had pictures of it. Where it does not replay, it is lost
            from the start, and looked for as if that reader still lived.

    Attributes:
        state: ``closed``, ``connecting``, ``open`` or ``reconnecting``.
        reconnects: times that the medium was lost and found again.
        length: of a finite medium, else None.
        notice: of the last connection.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Feed],
        config: CaptureConfig,
        *,
        live: bool = True,
        replays: bool = False,
        seen: bool = False,
    ) -> None:
        self.name = name
        self.live, self.replays = live, replays
        self.state: Literal["closed", "connecting", "open", "reconnecting"] = "closed"
        self.reconnects, self.notice = 0, ""
        self.length: int | None = None
        self._connect, self._config = connect, config
        self._lost_at_first = seen and not replays
        self._feed: Feed | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._frame, self._silent = 0, False
        self._first_ns: int | None = None
        self._lost_ns: int | None = None
        self._delay_s = 0.0

    def open(self) -> None:
        """Make the first connection, or the first attempt at it where the medium was seen before.

        Raises:
            SourceError: it cannot be made, or the attempt fails and ``give_up_s`` is over.
        """
        require()
        try:
            with self._lock:
                if self._lost_at_first:
                    self._reconnect()
                else:
                    self.state = "connecting"
                    self._make_feed()
                    self.state = "open"
        except SourceError:
            self.state = "closed"
            raise
        finally:
            self._release_if_closed()

    def grab(self) -> Grab | None:
        """The next picture; None at the end of a finite medium or after ``close``.

        Raises:
            SourceError: no picture ever arrived, one cannot be used, a finite medium broke off, or the medium
                was lost and did not come back within ``give_up_s``.
        """
        try:
            with self._lock:
                picture = self._next_picture()
        except EndOfMedium:
            return None
        finally:
            self._release_if_closed()
        if picture is None:
            return None
        if isinstance(picture, Grab):
            self._frame = picture.frame + 1
            return picture
        mono_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        if self._first_ns is None:
            self._first_ns = mono_ns
        frame, self._frame = self._frame, self._frame + 1
        pts = (mono_ns - self._first_ns) / 1e9
        return Grab(picture, frame, pts, mono_ns, wall_ns, bits_in_use(picture, self._config.bit_depth))

    def close(self) -> None:
        """Let go of the medium; see the class for how soon a waiting ``grab`` returns."""
        self._closed.set()
        self._release_if_closed()

    def _release_if_closed(self) -> None:
        # Whoever holds the lock comes by here again after letting it go.
        if self._closed.is_set() and self._lock.acquire(blocking=False):
            try:
                self._drop()
                self.state = "closed"
            finally:
                self._lock.release()

    def _next_picture(self) -> Picture | Grab | None:
        while not self._closed.is_set():
            wait_s, asked = self._config.read_timeout_s, time.monotonic()
            picture = self._feed.read() if self._feed is not None else None
            # Not of the last answer alone: pictures that the decoder held back come after a time-out.
            self._silent = self._silent or time.monotonic() - asked >= wait_s
            if picture is not None:
                self._mark_reconnected()
                return picture
            if self._closed.is_set():
                return None
            if self._frame == 0 and not self._lost_at_first:
                raise SourceError(f"{self.name}: opened, but gives no picture within {wait_s:g} s (read_timeout_s)")
            if self.length is not None or self.replays:
                self._check_end()
                return None
            self._reconnect()
        return None

    def _check_end(self) -> None:
        """Tell the end of a finite medium from an end before its time."""
        if self.length is None:
            if self._silent:
                wait_s = self._config.read_timeout_s
                raise SourceError(f"{self.name}: broke off after {self._frame} frames, silent for {wait_s:g} s")
        elif self._frame < (1 - _LENGTH_SLACK) * self.length:
            raise SourceError(f"{self.name}: broke off after {self._frame} of {self.length} frames")

    def _reconnect(self) -> None:
        """Make one attempt, after the wait that is due. Only a picture proves a connection.

        Raises:
            SourceError: ``give_up_s`` is over.
        """
        back_off = self._config.reconnect
        self._drop()
        if self._lost_ns is None:
            self._lost_ns, self._delay_s = time.monotonic_ns(), back_off.initial_s
            self.state = "reconnecting"
            log.warning("%s: lost, trying to reconnect", self.name)
        elif self._closed.wait(self._delay_s):
            return
        else:
            self._delay_s = min(2 * self._delay_s, back_off.max_s)
        try:
            self._make_feed()
        except SourceError as error:
            away_s = (time.monotonic_ns() - self._lost_ns) / 1e9
            if back_off.give_up_s is not None and away_s >= back_off.give_up_s:
                raise SourceError(f"{error} (lost {away_s:.1f} s ago, gave up)") from None
            log.info("%s, trying again in %.1f s", error, self._delay_s)

    def _make_feed(self) -> None:
        self._feed = self._connect()
        self.notice = self._feed.notice
        if self._frame == 0:
            self.length = self._feed.frames or None

    def _mark_reconnected(self) -> None:
        if self._lost_ns is not None:
            self._lost_ns = None
            self.reconnects += 1
            self.state = "open"
            log.warning("%s: reconnected", self.name)

    def _drop(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()
