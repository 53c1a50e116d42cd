"""Rendered scenes as a source: ``test://NAME?param=value``, with exact ground truth and without data files."""

from __future__ import annotations

import re
import threading
import time

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.capture.source import Grab
from pipeline.errors import SourceError

KEPT_BYTES = 128_000_000


class SceneSource:
    """A rendered scene, delivered as fast as its frames are consumed or, with ``live=1``, at its own frame rate.

    With ``loop=1`` the scene repeats, and frame numbers continue. A looping scene is rendered only once: its frames are
    cached, up to ``KEPT_BYTES``.

    Args:
        url: ``test://NAME?param=value``.

    Attributes:
        name: the URL.
        live: frames arrive at the scene's frame rate and are lost if they are not read in time.
        replays: True unless ``live``.
        length: number of frames; None before ``open`` and for looping scenes.
        state: ``closed`` or ``open``.
        reconnects: always 0.
        hangs: always False.
        notice: always empty.
    """

    reconnects, notice, hangs = 0, "", False

    def __init__(self, url: str) -> None:
        self.name = url
        self.live = is_real_time(url)
        self._loops = _has_item(url, "loop=1")
        self.replays = not self.live
        self.length: int | None = None
        self.state = "closed"
        self._scene: Scene | None = None
        self._closed = threading.Event()
        self._frame = 0
        self._start_ns = 0
        self._kept: dict[int, NDArray[np.uint16]] = {}

    def open(self) -> None:
        """Build the scene.

        Raises:
            SourceError: unknown scene or parameter, or a value out of range.
        """
        try:
            self._scene = Scene(SceneSpec.from_url(_strip_playback(self.name)))
        except ValueError as error:
            raise SourceError(str(error)) from None
        self.length = None if self._loops else len(self._scene)
        self.state = "open"

    def grab(self) -> Grab | None:
        """Return the next frame; None at the end of the scene or after ``close``."""
        scene, frame = self._scene, self._frame
        if scene is None or self._closed.is_set() or (frame >= len(scene) and not self._loops):
            return None
        picture = self._picture(scene, frame % len(scene))
        pts = frame / scene.spec.fps
        if self.live and frame and self._closed.wait(max(0.0, pts - (time.monotonic_ns() - self._start_ns) / 1e9)):
            return None
        now = time.monotonic_ns()
        if self.live:
            self._start_ns = self._start_ns or now
            pts = (now - self._start_ns) / 1e9  # actual delivery time, which may be late on a slow machine
        self._frame += 1
        return Grab(picture, frame, pts, now, time.time_ns(), scene.spec.bit_depth)

    def _picture(self, scene: Scene, frame: int) -> NDArray[np.uint16]:
        picture = self._kept.get(frame)
        if picture is None:
            picture = scene.frame(frame)
            if self._loops and (len(self._kept) + 1) * picture.nbytes <= KEPT_BYTES:
                picture.flags.writeable = False
                self._kept[frame] = picture
        return picture

    def close(self) -> None:
        """End the scene."""
        self._closed.set()
        self.state = "closed"


def is_real_time(url: str) -> bool:
    """Return whether a scene's URL requests frames in real time."""
    return _has_item(url, "live=1")


def _has_item(url: str, item: str) -> bool:
    return item in url.partition("?")[2].split("&")


def _strip_playback(url: str) -> str:
    """Remove the playback options ``live`` and ``loop`` (0 or 1) from a URL, keeping those of the scene itself."""
    name, mark, query = url.partition("?")
    rest = "&".join(item for item in query.split("&") if not re.fullmatch("(live|loop)=[01]", item))
    return f"{name}{mark}{rest}"
