"""The files of one source."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import msgspec

from pipeline.errors import ConfigError
from pipeline.messages import TENTATIVE, TRACK_STATES, Tracked
from pipeline.sinks.config import SinkConfig
from pipeline.sinks.jsonl import detections_line, tracks_line
from pipeline.sinks.lines import LineFile
from pipeline.sinks.mot import mot_lines
from pipeline.sinks.video_file import VideoFile

_RESULT = re.compile(
    r"(tracks|detections)\.jsonl|tracks\.mot\.txt|overlay(\.([2-9]|[1-9][0-9]+))?\.mp4|\.overlay\.part\.mp4"
)


class SourceFiles:
    """All files of a source that are wanted.

    Line files of an earlier life are gone on with, each after the last frame that it holds: the life may have
    ended between two of them. The video of an earlier life cannot be gone on with; there is one per life. Files of an
    earlier run are replaced or, where this one does not write them (yet), removed: they would pass for its own.

    Args:
        folder: of the source.
        config: what is wanted.
        life: 0, or times that the stage was started again with files of this run in the folder.

    Attributes:
        video: the overlay, if wanted.
        confirmed: tracks that were confirmed at the last frame of the earlier life, as far as the files say.

    Raises:
        ConfigError: a file cannot be created, or one of an earlier run not removed.
    """

    def __init__(self, folder: Path, config: SinkConfig, life: int = 0) -> None:
        resume = life > 0
        writers = []
        if config.jsonl:
            writers += [("tracks.jsonl", tracks_line), ("detections.jsonl", detections_line)]
        if config.mot:
            writers += [("tracks.mot.txt", mot_lines)]
        if not resume:
            _clear(folder, keep={name for name, _ in writers})
        self._lines = [(LineFile(folder / name, resume), render) for name, render in writers]
        self._last = [_frame(file.last) for file, _ in self._lines]
        self.confirmed = _confirmed(self._lines[0][0].last) if config.jsonl else set()
        video = f"overlay.{life + 1}.mp4" if resume else "overlay.mp4"
        self.video = VideoFile(folder / video) if config.overlay else None

    def write(self, message: Tracked) -> None:
        """Append the lines of a frame to every file that does not hold it yet.

        Raises:
            StageError: a file cannot be written.
        """
        for (file, render), last in zip(self._lines, self._last, strict=True):
            if message.header.frame > last:
                file.write(render(message))

    def close(self) -> None:
        """Complete all files; one that fails does not keep the others from it.

        Raises:
            StageError: a file is not complete.
        """
        with ExitStack() as each:
            for file, _ in self._lines:
                each.callback(file.close)
            if self.video is not None:
                each.callback(self.video.close)


def _clear(folder: Path, keep: set[str]) -> None:
    """Remove the results of an earlier run, but no other file."""
    for path in folder.iterdir():
        if _RESULT.fullmatch(path.name) and path.name not in keep:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise ConfigError(f"cannot remove {path}: {error.strerror}") from None


def _frame(line: bytes) -> int:
    """Frame of the last line of a JSONL or a MOT file, -1 if there is none."""
    if not line:
        return -1
    if line.startswith(b"{"):
        return int(msgspec.json.decode(line)["frame"])
    return int(line.split(b",")[0]) - 1


def _confirmed(line: bytes) -> set[int]:
    tracks = msgspec.json.decode(line)["tracks"] if line else []
    return {track["id"] for track in tracks if track["state"] != TRACK_STATES[TENTATIVE]}
