"""From an address to the source that reads it."""

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
from pipeline.capture.scene_source import SceneSource, is_paced
from pipeline.capture.source import Source
from pipeline.capture.video_file import VideoFile
from pipeline.errors import SourceError

_FILE_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")


def open_source(address: str, config: CaptureConfig) -> Source:
    """The source of an address, not opened yet.

    Raises:
        SourceError: an unknown scheme, or one that is not read by a source (``zmq+tcp://``).
    """
    parsed = parse(address)
    kind, text = parsed
    match kind:
        case "video":
            return VideoFile(text, config)
        case "images":
            return ImageSequence(text, config)
        case "camera":
            return LiveSource(text, partial(CameraFeed, text), config)
        case "network":
            return LiveSource(redact(text), partial(NetworkFeed, text, config), config, live=_is_live(parsed))
        case "scene":
            return SceneSource(text)
        case _:
            raise SourceError(f"{redact(address)}: capture on another machine is not built yet")


def is_live(address: str) -> bool:
    """Whether an address gives pictures at its own pace, so that those not taken in time are lost.

    Raises:
        SourceError: an unknown scheme.
    """
    return _is_live(parse(address))


def _is_live(address: Address) -> bool:
    kind, text = address
    if kind == "scene":
        return is_paced(text)
    if kind == "network" and text.startswith("http"):
        # A video file on a web server waits for its reader like one on disk.
        path = re.split(r"[?#]", text, maxsplit=1)[0]
        return PurePosixPath(path).suffix.lower() not in _FILE_SUFFIXES
    return kind in ("network", "camera", "remote")
