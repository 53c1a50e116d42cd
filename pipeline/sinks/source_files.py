"""The result files of one source."""

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
from pipeline.sinks.video_file import OverlayVideo

_RESULT = re.compile(
    r"(tracks|detections)\.jsonl|tracks\.mot\.txt|overlay(\.([2-9]|[1-9][0-9]+))?\.mp4|\.overlay\.part\.mp4"
)


class SourceFiles:
    """All enabled result files of a source.

    After a restart, line files are continued, each after the last frame it contains, since the process may have died
    between two files. A video cannot be continued, so each restart begins a new one. Result files of an earlier run are
    replaced or, if this run does not write them (yet), removed, so that they are not mistaken for its own.

    Args:
        folder: folder of the source.
        config: which files are written.
        life: 0, or the number of restarts of the stage if the folder contains files of this run.

    Attributes:
        video: the overlay video, if enabled.
        confirmed: ids of the tracks that were confirmed at the last frame before the restart, as far as the files tell.

    Raises:
        ConfigError: a file cannot be created, or one of an earlier run cannot be removed.
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
        self.video = OverlayVideo(folder / video) if config.overlay else None

    def write(self, message: Tracked) -> None:
        """Append the lines of a frame to every file that does not contain it yet.

        Raises:
            StageError: a file cannot be written.
        """
        for (file, render), last in zip(self._lines, self._last, strict=True):
            if message.header.frame > last:
                file.write(render(message))

    def close(self) -> None:
        """Complete all files, even if one of them fails.

        Raises:
            StageError: a file could not be completed.
        """
        with ExitStack() as each:
            for file, _ in self._lines:
                each.callback(file.close)
            if self.video is not None:
                each.callback(self.video.close)


def _clear(folder: Path, keep: set[str]) -> None:
    """Remove the result files of an earlier run, and nothing else."""
    for path in folder.iterdir():
        if _RESULT.fullmatch(path.name) and path.name not in keep:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise ConfigError(f"cannot remove {path}: {error.strerror}") from None


def _frame(line: bytes) -> int:
    """Return the frame index from the last line of a JSONL or MOT file; -1 if there is none."""
    if not line:
        return -1
    if line.startswith(b"{"):
        return int(msgspec.json.decode(line)["frame"])
    return int(line.split(b",")[0]) - 1


def _confirmed(line: bytes) -> set[int]:
    tracks = msgspec.json.decode(line)["tracks"] if line else []
    return {track["id"] for track in tracks if track["state"] != TRACK_STATES[TENTATIVE]}
