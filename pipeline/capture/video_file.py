"""Video files: mp4, avi, mkv, mov, ts and any other format that FFmpeg reads."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from pipeline.capture import container
from pipeline.capture.config import CaptureConfig
from pipeline.capture.ffmpeg import Decoder
from pipeline.capture.source import Grab
from pipeline.errors import SourceError
from pipeline.opencv import require_opencv

log = logging.getLogger(__name__)
_END_SLACK = 2.5
"""Tolerance at the end, in frame intervals: the last frame may come this long before the declared duration."""
_MOST_FAILURES = 1000
"""Unreadable frames in a row after which the rest of a file is given up."""


class VideoFileSource:
    """A video file, read as fast as its frames are consumed. Damaged frames are skipped, and an error at the end.

    Attributes:
        name: the path.
        live: always False.
        replays: always True.
        reconnects: always 0.
        hangs: always False.
        notice: says so if OpenCV reduces the bit depth, else empty.
        length: declared number of frames, None if unknown; the actual number may differ slightly.
        state: ``closed`` or ``open``.
    """

    live = False
    replays = True
    reconnects, hangs = 0, False

    def __init__(self, path: str, config: CaptureConfig) -> None:
        self.name = path
        self.length: int | None = None
        self.state = "closed"
        self.notice = ""
        self._path, self._config = Path(path), config
        self._decoder: Decoder | None = None
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._frame = self._skipped = 0
        self._pts = self._interval = 0.0

    def open(self) -> None:
        """Open the file.

        Raises:
            SourceError: the file is missing, a folder, empty or not a video; one line that names it.
        """
        require_opencv()
        check_file(self._path, self.name)
        decoder = Decoder(str(self._path.absolute()), self.name, self._config.bit_depth)
        if not decoder.opened:
            lost = container.missing_bytes(self._path)
            if lost:
                raise SourceError(
                    f"{self.name}: the file is cut short, its last {lost} bytes and the index are missing"
                )
            raise SourceError(f"{self.name}: not a readable video")
        self._decoder = decoder
        self.notice = decoder.notice
        self._interval = decoder.interval
        self.length = decoder.frames or None
        self.state = "open"

    def grab(self) -> Grab | None:
        """Return the next frame; None at the end or after ``close``.

        Raises:
            SourceError: after the last frame, if the file ends before its declared end or had damaged frames; or a
                frame cannot be used.
        """
        try:
            with self._lock:
                if self._decoder is None or self._closed.is_set():
                    return None
                grab = self._next(self._decoder)
        finally:
            self._release_if_closed()
        if grab is None:
            self._check_end()
            return None
        self._frame, self._pts = grab.frame + 1, grab.pts
        return grab

    def _next(self, decoder: Decoder) -> Grab | None:
        """Return the next readable frame. As long as more frames are declared, a failure need not be the end."""
        tries = min((self.length or 0) - self._frame - self._skipped, _MOST_FAILURES)
        for failures in range(max(tries, 1)):
            grab = decoder.read()
            if grab is not None:
                if failures and not self._skipped:
                    log.warning("%s: damaged after %.2f s; skipped", self.name, self._pts)
                self._skipped += failures
                return grab
            if self._closed.is_set():
                break
        return None

    def close(self) -> None:
        """Release the file without waiting.

        If another thread is reading a frame, which may hang with the disk, the file is released after that read.
        """
        self._closed.set()
        self._release_if_closed()

    def _release_if_closed(self) -> None:
        # If another thread holds the lock, it calls this again after releasing it.
        if self._closed.is_set() and self._lock.acquire(blocking=False):
            try:
                decoder, self._decoder = self._decoder, None
                if decoder is not None:
                    decoder.close()
                self.state = "closed"
            finally:
                self._lock.release()

    def _check_end(self) -> None:
        """Raise an error unless this is the regular end of the video."""
        if self._frame == 0:
            raise SourceError(f"{self.name}: the video contains no readable frame")
        if self.length is not None and self._frame >= self.length and not self._skipped:
            return
        seconds = container.duration(self._path)
        declared = round(seconds / self._interval) if seconds else self.length if seconds is None else None
        of = f" of {declared}" if declared and declared > self._frame else ""
        if container.missing_bytes(self._path):
            raise SourceError(f"{self.name}: the file is cut short, {self._frame}{of} frames could be read")
        if self._skipped or (seconds and seconds > self._pts + _END_SLACK * self._interval):
            raise SourceError(f"{self.name}: the file is damaged, {self._frame}{of} frames could be read")


def check_file(path: Path, name: str) -> None:
    """Check that a path is a readable, non-empty file.

    Raises:
        SourceError: it is not; one line that names it.
    """
    try:
        if path.is_dir():
            raise SourceError(f"{name}: is a folder")
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise SourceError(f"{name}: no such file") from None
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror or error}") from None
    if empty:
        raise SourceError(f"{name}: the file is empty")
