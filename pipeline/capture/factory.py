"""Create the source that reads a given address."""

from __future__ import annotations

import re
from functools import partial
from pathlib import PurePosixPath

from pipeline.capture.address import Address, parse, redact
from pipeline.capture.camera import CameraFeed
from pipeline.capture.config import CaptureConfig
from pipeline.capture.images import ImageSequence
from pipeline.capture.live import LiveSource
from pipeline.capture.network import NetworkFeed
from pipeline.capture.remote import RemoteCamera
from pipeline.capture.scene_source import SceneSource, is_real_time
from pipeline.capture.source import Source
from pipeline.capture.video_file import VideoFileSource

_FILE_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")


def open_source(address: str, config: CaptureConfig, seen: bool = False) -> Source:
    """Return the source for an address, not yet opened.

    Args:
        address: address as given by the user.
        config: how sources are opened and read.
        seen: a previous capture process that died had already received frames from it. A live source may then be
            unavailable at first.

    Raises:
        SourceError: the scheme is unknown.
        ConfigError: the source is on another machine and there are no keys for it.
    """
    parsed = parse(address)
    kind, text = parsed
    match kind:
        case "video":
            return VideoFileSource(text, config)
        case "images":
            return ImageSequence(text, config)
        case "camera":
            return LiveSource(text, partial(CameraFeed, text, config), config, seen=seen)
        case "network":
            live = _is_live(parsed)
            connect = partial(NetworkFeed, text, config, live)
            return LiveSource(redact(text), connect, config, live=live, replays=not live, seen=seen)
        case "scene":
            return SceneSource(text)
        case "remote":
            return LiveSource(redact(text), RemoteCamera(text, config).connect, config, live=False, seen=seen)


def is_live(address: str) -> bool:
    """Return whether an address delivers frames at its own pace, so that frames not read in time are lost.

    Remote sources are not live in this sense: their frames wait in the queue of the other machine, under its policy.

    Raises:
        SourceError: the scheme is unknown.
    """
    return _is_live(parse(address))


def _is_live(address: Address) -> bool:
    kind, text = address
    if kind == "scene":
        return is_real_time(text)
    if kind == "network" and text.startswith("http"):
        # A video file on a web server is read at the reader's pace, like a file on disk.
        path = re.split(r"[?#]", text, maxsplit=1)[0]
        return PurePosixPath(path).suffix.lower() not in _FILE_SUFFIXES
    return kind in ("network", "camera")
