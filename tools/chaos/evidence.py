"""Evidence that a run leaves behind: exit code, files, processes, sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2


@dataclass(frozen=True)
class Files:
    """Contents of the output folder of one source.

    Attributes:
        tracks, detections: frame numbers of the lines, in order.
        torn: names of line files with a line that is not valid JSON or a last line without line end.
        videos: number of decodable frames by file name.
    """

    tracks: Sequence[int]
    detections: Sequence[int]
    torn: Sequence[str] = ()
    videos: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """Everything that the checks look at.

    Attributes:
        exit_code: exit code of the run; negative if a signal ended it.
        errors: standard error of the run.
        record: contents of ``run.json``; empty if missing or broken.
        files: output files by source.
        lengths: number of frames of each source, where it is known.
        survivors: command lines of processes of the run that are still running.
        leftovers: names of files left in the folder for sockets.
        recoveries: time in s from each fault injection to recovery.
    """

    exit_code: int
    errors: str
    record: Mapping[str, Any]
    files: Mapping[str, Files]
    lengths: Mapping[str, int]
    survivors: Sequence[str] = ()
    leftovers: Sequence[str] = ()
    recoveries: Sequence[float] = ()

    @property
    def ended(self) -> bool:
        """Whether the run has recorded how it ended."""
        return self.record.get("exit_code") is not None

    def causes(self, kind: str) -> dict[str, int]:
        """Sum frames by cause over all sources; ``kind`` is ``dropped`` or ``lost``."""
        sums: dict[str, int] = {}
        for source in self.record.get("sources", {}).values():
            for cause, count in source.get("account", {}).get(kind, {}).items():
                sums[cause] = sums.get(cause, 0) + count
        return sums


def read_record(out: Path) -> dict[str, Any]:
    """Read ``run.json`` of an output folder; return an empty dict if it is missing or broken."""
    try:
        record = json.loads((out / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def read_files(folder: Path) -> Files:
    """Read all output files of one source."""
    torn: list[str] = []
    tracks = _frames(folder / "tracks.jsonl", torn)
    detections = _frames(folder / "detections.jsonl", torn)
    videos = {path.name: _decodable(path) for path in sorted(folder.glob("overlay*.mp4"))}
    return Files(tracks, detections, torn, videos)


def _frames(path: Path, torn: list[str]) -> list[int]:
    frames: list[int] = []
    data = path.read_bytes() if path.exists() else b""
    for line in data.splitlines():
        try:
            frames.append(int(json.loads(line)["frame"]))
        except (ValueError, KeyError, TypeError):
            torn.append(path.name)
    if data and not data.endswith(b"\n"):
        torn.append(path.name)
    return frames


def _decodable(path: Path) -> int:
    video, count = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), 0
    while video.grab():
        count += 1
    video.release()
    return count
