"""Live sources that reconnect after the connection was lost."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol

from pipeline.capture.address import redact
from pipeline.capture.config import CaptureConfig
from pipeline.capture.picture import bits_in_use
from pipeline.capture.source import Grab, Picture
from pipeline.errors import SourceError, one_line
from pipeline.opencv import require_opencv

log = logging.getLogger(__name__)
_LENGTH_SLACK = 0.05
"""Fraction of the declared frames that may be missing at the end: servers declare a duration, not a count."""
_HANG_FACTOR, _HANG_S = 3.0, 10.0
"""A step hangs after its time limit times the factor, plus the constant: connecting may take twice the limit (SRT), and
the limits cover neither the resolution of names nor the diagnosis of failures."""


class EndOfMedium(Exception):
    """The end of a medium of unknown length was reached."""


class Feed(Protocol):
    """One connection to a live medium, from opening to loss.

    Attributes:
        frames: number of frames of a finite medium; 0 for an endless one.
        notice: see ``pipeline.capture.source.Source``.
    """

    frames: int
    notice: str

    def read(self) -> Picture | Grab | None:
        """Wait for the next frame.

        Returns:
            A picture, or a complete ``Grab`` if the medium numbers and timestamps its frames itself; None if the
            connection is lost or silent for too long.

        Raises:
            EndOfMedium: the medium announced that no more frames will come.
        """

    def close(self) -> None:
        """Release the connection."""


class LiveSource:
    """Reads a live medium over a series of connections.

    The first connection must succeed, unless the medium was seen before. If a later one is lost, ``grab`` blocks and
    reconnects with exponential back-off; frame numbers continue. A medium that is finite, or that would start over
    from its first frame, ends instead.

    ``close`` never blocks. A ``grab`` waiting in another thread then returns immediately if it waits between two
    attempts, within the read timeout if the medium hangs, and within the open timeout while connecting.

    Args:
        name: address with credentials masked.
        connect: opens a connection; raises SourceError with one line that names the medium. Any other exception counts
            as a failed attempt too.
        config: timeouts and back-off.
        live: frames arrive at their own pace.
        replays: a new connection starts with the first frame again.
        seen: a previous reader that died had already received frames. Unless ``replays``, the medium then counts as
            lost from the start, and reconnection is attempted as that reader would have done.

    Attributes:
        state: ``closed``, ``connecting``, ``open`` or ``reconnecting``.
        reconnects: number of times the medium was lost and found again.
        length: number of frames of a finite medium, else None.
        notice: notice of the latest connection.
        hangs: see ``pipeline.capture.source.Source``.
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
        self._hangs_at = math.inf

    @property
    def hangs(self) -> bool:
        """See ``pipeline.capture.source.Source``."""
        return time.monotonic() > self._hangs_at and not self._closed.is_set()

    def open(self) -> None:
        """Make the first connection, or one attempt at it if the medium was seen before.

        Raises:
            SourceError: the connection failed, and for a medium seen before, ``give_up_s`` has passed.
        """
        require_opencv()
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
            self._hangs_at = math.inf
            self._release_if_closed()

    def grab(self) -> Grab | None:
        """Wait for the next frame; None at the end of a finite medium or after ``close``.

        Raises:
            SourceError: no frame ever arrived, a frame cannot be used, a finite medium broke off, or the medium was
                lost and did not come back within ``give_up_s``.
        """
        try:
            with self._lock:
                picture = self._next_picture()
        except EndOfMedium:
            return None
        finally:
            self._hangs_at = math.inf
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
        """Release the medium; see the class for how soon a waiting ``grab`` returns."""
        self._closed.set()
        self._release_if_closed()

    def _release_if_closed(self) -> None:
        # If another thread holds the lock, it calls this again after releasing it.
        if self._closed.is_set() and self._lock.acquire(blocking=False):
            try:
                self._drop()
                self.state = "closed"
            finally:
                self._lock.release()

    def _next_picture(self) -> Picture | Grab | None:
        while not self._closed.is_set():
            wait_s, asked = self._config.read_timeout_s, time.monotonic()
            self._begin_step(wait_s)
            picture = self._feed.read() if self._feed is not None else None
            # Sticky, because frames still held by the decoder are returned after a timeout.
            self._silent = self._silent or time.monotonic() - asked >= wait_s
            if picture is not None:
                self._mark_reconnected()
                return picture
            if self._closed.is_set():
                return None
            if self._frame == 0 and not self._lost_at_first:
                raise SourceError(f"{self.name}: opened, but delivers no frame within {wait_s:g} s (read_timeout_s)")
            if self.length is not None or self.replays:
                self._check_end()
                return None
            self._reconnect()
        return None

    def _check_end(self) -> None:
        """Raise an error if a finite medium ended before its declared end."""
        if self.length is None:
            if self._silent:
                wait_s = self._config.read_timeout_s
                raise SourceError(f"{self.name}: broke off after {self._frame} frames, silent for {wait_s:g} s")
        elif self._frame < (1 - _LENGTH_SLACK) * self.length:
            raise SourceError(f"{self.name}: broke off after {self._frame} of {self.length} frames")

    def _reconnect(self) -> None:
        """Make one connection attempt, after waiting for the back-off delay.

        The connection counts as restored only when a frame arrives.

        Raises:
            SourceError: this attempt failed or the previous one brought no frame, and ``give_up_s`` has passed.
        """
        back_off = self._config.reconnect
        self._begin_step(self._delay_s)
        brought_nothing = self._lost_ns is not None and self._feed is not None
        self._drop()
        if brought_nothing:
            self._give_up_if_late(f"{self.name}: opened, but delivers no frame")
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
            self._give_up_if_late(str(error))
            log.info("%s, trying again in %.1f s", error, self._delay_s)

    def _give_up_if_late(self, reason: str) -> None:
        give_up_s = self._config.reconnect.give_up_s
        away_s = (time.monotonic_ns() - (self._lost_ns or 0)) / 1e9
        if give_up_s is not None and away_s >= give_up_s:
            raise SourceError(f"{reason} (lost {away_s:.1f} s ago, gave up)")

    def _make_feed(self) -> None:
        self._begin_step(self._config.open_timeout_s)
        try:
            self._feed = self._connect()
        except SourceError:
            raise
        except Exception as error:  # a full /tmp or too many open files pass like any other trouble of the medium
            raise SourceError(f"{self.name}: {redact(one_line(error))}") from error
        self.notice = self._feed.notice
        if self._frame == 0:
            self.length = self._feed.frames or None

    def _begin_step(self, limit_s: float) -> None:
        self._hangs_at = time.monotonic() + _HANG_FACTOR * limit_s + _HANG_S

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
