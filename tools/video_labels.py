"""Labelled videos below a folder, and their label files; the format is described in ``tools/evaluate_video.py``."""

from __future__ import annotations

import csv
import math
import os
from collections import defaultdict
from collections.abc import Container, Sequence
from pathlib import Path

from pipeline.errors import ConfigError
from tools.video_figures import Boxes, Video

COLUMNS = ("frame", "x", "y", "w", "h")
SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")


def find_videos(data: Path, names: Sequence[str] = ()) -> list[Video]:
    """Find all labelled videos below a folder, or only those with the given names.

    Raises:
        ConfigError: the folder or a named video does not exist, no video is labelled, or two videos share a name.
    """
    if not data.is_dir():
        raise ConfigError(f"--data {data}: no such folder")
    videos = []
    for labels in sorted(data.rglob("*.csv")):
        media = [labels.with_suffix(suffix) for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES), "")]
        medium = next((m for m in media if m.is_file() or m.is_dir()), None)
        if medium is not None:
            folder = os.path.normpath(Path.cwd() / labels.parent)  # has a name even if it was given as "." or ".."
            videos.append(Video(Path(folder).name, labels.stem, medium, labels))
    missing = set(names) - {video.name for video in videos}
    if missing:
        raise ConfigError(f"--videos: not below {data}: {', '.join(sorted(missing))}")
    videos = [video for video in videos if not names or video.name in names]
    if not videos:
        raise ConfigError(f"--data {data}: no labelled videos (NAME.csv beside NAME.mp4 or NAME/)")
    named: dict[str, Video] = {}
    for video in videos:
        # Outputs are named after the video, so one would overwrite those of the other.
        name = f"{video.group}_{video.name}"
        other = named.setdefault(name, video)
        if other is not video:
            raise ConfigError(f"--data {data}: {other.labels} and {video.labels} would both be called {name}")
    return videos


def read_labels(path: Path) -> Boxes:
    """Read the boxes of each frame as (centre x, centre y, w, h) in px; w and h are nan for point targets.

    Box corners lie on pixel edges while coordinates count from the centre of the first pixel, hence the offset of 0.5.

    Raises:
        ConfigError: the file cannot be read, or is malformed; the message names file and line. A box without area is
            malformed: other formats write one where there is no target. A video without targets has a file with only
            the header, so an empty file is an error too.
    """
    boxes: defaultdict[int, list[tuple[float, float, float, float]]] = defaultdict(list)
    try:
        file = path.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    with file:
        reader = csv.DictReader(file)
        try:
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise ValueError
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError
                frame, x, y = int(row["frame"]), float(row["x"]), float(row["y"])
                point = not row["w"] and not row["h"]
                w, h = (1.0, 1.0) if point else (float(row["w"]), float(row["h"]))
                if frame < 0 or not all(map(math.isfinite, (x, y, w, h))) or min(w, h) <= 0:
                    raise ValueError
                boxes[frame].append((x, y, math.nan, math.nan) if point else (x + w / 2 - 0.5, y + h / 2 - 0.5, w, h))
        except (ValueError, csv.Error):
            line = max(1, reader.line_num)
            raise ConfigError(f"{path}:{line}: expected frame,x,y,w,h, with w and h above 0 or both empty") from None
    return dict(boxes)


def check_label_frames(video: Video, labels: Boxes, frames: Container[int], most: int | None) -> None:
    """Raise if a label belongs to a frame that the video does not have.

    The targets of such a frame would count neither as found nor as missed.

    Args:
        video: the labelled video.
        labels: boxes by frame number.
        frames: numbers of the frames that were read.
        most: only the first so many frames were read; None means all.

    Raises:
        ConfigError: names the label file and the first such frame.
    """
    unseen = [frame for frame in labels if frame not in frames and (most is None or frame < most)]
    if unseen:
        raise ConfigError(f"{video.labels}: frame {min(unseen)} has a label, but is not in {video.medium}")
