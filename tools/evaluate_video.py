"""Score the pipeline on labelled videos.

    python -m tools.evaluate_video --weights NAME --data DIR [--videos LIST] [--config FILE] [--set KEY=VALUE ...]
                                   [--jobs N] [--frames N] [--keep DIR] [--json FILE] [--curve FILE] [--sheet DIR]

Every ``NAME.csv`` below DIR that lies beside ``NAME.mp4`` or a folder ``NAME/`` of frames is one video; its header
is ``frame,x,y,w,h`` (frame from 0 in decoding order, box top-left and size in px; a point has empty w,h; a frame
without a row has no target; of several rows of a frame, the first is always the same target, and so on, or HOTA, IDF1
and switches mean nothing). Videos of one folder are a set of its name. The real stages run one after another
(``tools/replay.py``). A true target matches a confirmed or coasting track within max(5 px, half its box's diagonal).
``fps`` is the speed of all of it, and told where that is the stages' own: not with ``--keep``, ``--curve`` or
``--jobs`` above 1.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline import config as configuration
from pipeline.arguments import count
from pipeline.config import Config
from pipeline.errors import ConfigError, PipelineError, one_line
from pipeline.messages import TENTATIVE, Table
from tools import mot_metrics, video_curve, video_sheet
from tools.replay import DetectionCache, check_masks, detect, track
from tools.video_figures import Boxes, Result, Video, by_class, by_set, summarise, table

COLUMNS = ("frame", "x", "y", "w", "h")
NO_BOXES = np.empty((0, 4))


def find_videos(data: Path, names: Sequence[str] = ()) -> list[Video]:
    """All labelled videos below a folder, or those of the given names.

    Raises:
        ConfigError: the folder or a named video does not exist, nothing is labelled, or two videos have one name.
    """
    if not data.is_dir():
        raise ConfigError(f"--data {data}: no such folder")
    videos = []
    for labels in sorted(data.rglob("*.csv")):
        media = [labels.with_suffix(suffix) for suffix in (".mp4", ".avi", ".mkv", "")]
        medium = next((m for m in media if m.is_file() or m.is_dir()), None)
        if medium is not None:
            videos.append(Video(labels.parent.name, labels.stem, medium, labels))
    missing = set(names) - {video.name for video in videos}
    if missing:
        raise ConfigError(f"--videos: not below {data}: {', '.join(sorted(missing))}")
    videos = [video for video in videos if not names or video.name in names]
    if not videos:
        raise ConfigError(f"--data {data}: no labelled videos (NAME.csv beside NAME.mp4 or NAME/)")
    named: dict[str, Video] = {}
    for video in videos:
        # What is written about one would take the place of what is written about the other.
        name = f"{video.group}_{video.name}"
        other = named.setdefault(name, video)
        if other is not video:
            raise ConfigError(f"--data {data}: {other.labels} and {video.labels} would both be called {name}")
    return videos


def read_labels(path: Path) -> Boxes:
    """Boxes by frame as centre x, centre y, w, h in px; w and h are nan for points.

    Box corners are edges of pixels and coordinates count from the centre of the first pixel, hence the half.

    Raises:
        ConfigError: names the file and line; no targets are a header alone, so a file without one is refused too.
    """
    boxes: defaultdict[int, list[tuple[float, float, float, float]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8-sig") as file:
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
                if frame < 0 or not all(map(math.isfinite, (x, y, w, h))) or min(w, h) < 0:
                    raise ValueError
                boxes[frame].append((x, y, math.nan, math.nan) if point else (x + w / 2 - 0.5, y + h / 2 - 0.5, w, h))
        except (ValueError, csv.Error):
            raise ConfigError(f"{path}:{max(1, reader.line_num)}: expected frame,x,y,w,h") from None
    return dict(boxes)


def check_label_frames(video: Video, labels: Boxes, frames: Container[int], most: int | None) -> None:
    """Refuse labels of frames that never came: their targets would be neither found nor missed.

    Args:
        video: whose they are.
        labels: by frame.
        frames: numbers of those that came.
        most: as many were asked for; none means all.

    Raises:
        ConfigError: names the labels and the first such frame.
    """
    unseen = [frame for frame in labels if frame not in frames and (most is None or frame < most)]
    if unseen:
        raise ConfigError(f"{video.labels}: frame {min(unseen)} has a label, but never comes in {video.medium}")


def evaluate(
    video: Video,
    config: Config,
    thresholds: Sequence[float | None],
    most: int | None = None,
    keep: Path | None = None,
    messages_too: bool = False,
    timed: bool = True,
) -> list[Result]:
    """Run one video and compare every frame.

    Args:
        video: to run.
        config: of the stages; its detection threshold does not count.
        thresholds: of detection; none means what the weights were validated with.
        most: run only so many frames.
        keep: folder for what was detected; taken from there if it is there.
        messages_too: put the tracker's messages at the first threshold into its result.
        timed: take the time; false where other work would be in it, or part of the work would not.

    Returns:
        a result for each threshold; they share the time.

    Raises:
        ConfigError: the labels cannot be read, or are of frames that the video does not have.
    """
    labels = read_labels(video.labels)
    start = time.perf_counter()
    frames: list[list[mot_metrics.Frame]] = [[] for _ in thresholds]
    detections, numbers, pts, kept = [0] * len(thresholds), [], [], []
    find = DetectionCache(keep).detect if keep is not None else detect
    for messages in track(find(str(video.medium), config, thresholds, most), config, thresholds):
        header = messages[0].header
        boxes = np.array(labels.get(header.frame, NO_BOXES), float).reshape(-1, 4)
        for k, message in enumerate(messages):
            frames[k].append(compare(boxes, message.track_table()))
            detections[k] += len(message.detection_table())
        numbers.append(header.frame)
        pts.append(header.pts)
        kept += messages[:1] if messages_too else []
    check_label_frames(video, labels, set(numbers), most)
    fps = (len(pts) - 1) / (pts[-1] - pts[0]) if len(pts) > 1 and pts[-1] > pts[0] else float("nan")
    seconds, count = time.perf_counter() - start if timed else 0.0, max(1, len(pts))
    return [
        Result(video, frames[k], fps, seconds, detections[k] / count, kept if k == 0 else ())
        for k in range(len(thresholds))
    ]


def compare(boxes: NDArray[np.float64], tracks: Table) -> mot_metrics.Frame:
    """One frame's tracks, rows of ``TRACK_DTYPE``, against its targets (n, 4): centre x, centre y, w, h in px."""
    shown = tracks[tracks["state"] != TENTATIVE]
    where = np.stack([shown["x"], shown["y"]], axis=1)
    return mot_metrics.frame(np.arange(len(boxes)), boxes[:, :2], mot_metrics.reach(boxes[:, 2:]), shown["id"], where)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tools.evaluate_video", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", help="name or path (default: the configuration's)")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--videos", default="", help="names, separated by commas (default: all)")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY.PATH=VALUE")
    parser.add_argument("--jobs", type=count, default=1, help="videos at once, each with one CPU thread if above 1")
    parser.add_argument("--frames", type=count, help="only the first N frames of each video")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what was detected, and start from it next time")
    parser.add_argument("--json", type=Path, help="write all figures, also per class and per video")
    parser.add_argument("--curve", type=Path, metavar="FILE.json|FILE.png", help="Pd against false tracks")
    parser.add_argument("--sheet", type=Path, metavar="DIR", help="draw the faults of the worst videos")
    args = parser.parse_args(argv)
    settings = list(args.settings)
    settings += [f"detect.weights={args.weights}"] if args.weights else []
    settings += ["detect.threads=1"] if args.jobs > 1 else []
    try:
        _check_outputs(args.json, args.curve, args.sheet)
        config = configuration.load(args.config, settings)
        videos = find_videos(args.data, [name for name in args.videos.split(",") if name])
        check_masks(config, [str(video.medium) for video in videos])
        thresholds = [config.detect.threshold, *(video_curve.THRESHOLDS if args.curve else ())]
        runs = _run_all(videos, args.jobs, partial(
            evaluate, config=config, thresholds=thresholds, most=args.frames, keep=args.keep,
            messages_too=args.sheet is not None, timed=not args.keep and not args.curve and args.jobs == 1,
        ))  # fmt: skip
        results = [run[0] for run in runs]
        _report(results, config, args.json)
        if args.curve:
            swept = {t: [run[k] for run in runs] for k, t in enumerate(video_curve.THRESHOLDS, start=1)}
            video_curve.write(video_curve.curves(swept), args.curve)
        if args.sheet:
            for result in video_sheet.worst(results):
                path = video_sheet.write(result, read_labels(result.video.labels), config.capture, args.sheet)
                sys.stderr.write(f"{path}\n")
    except PipelineError as error:
        sys.stderr.write(f"tools.evaluate_video: error: {one_line(error)}\n")
        return error.exit_code
    return 0


def _check_outputs(json: Path | None, curve: Path | None, sheet: Path | None) -> None:
    """Refuse before the long run what could not be written after it."""
    if curve and curve.suffix not in video_curve.SUFFIXES:
        raise ConfigError(f"--curve {curve}: expected a name that ends in {' or '.join(video_curve.SUFFIXES)}")
    for word, path in (("json", json), ("curve", curve)):
        if path and (path.is_dir() or not path.parent.is_dir()):
            raise ConfigError(f"--{word} {path}: no file can be there")
    if curve and curve.suffix == ".png" and find_spec("matplotlib") is None:
        raise ConfigError("--curve: matplotlib is missing; pip install '.[train]'")
    if sheet:
        try:
            sheet.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--sheet {sheet}: {error.strerror}") from None


def _report(results: Sequence[Result], config: Config, path: Path | None) -> None:
    sets = {name: summarise(members) for name, members in by_set(results).items()}
    classes = {name: summarise(members) for name, members in by_class(results).items()}
    sys.stdout.write(table({**sets, **classes}) + "\n")
    if path:
        per_video = {f"{r.video.group}/{r.video.name}": summarise([r]) for r in results}
        report = {"config": msgspec.to_builtins(config), "sets": sets, "classes": classes, "videos": per_video}
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def _run_all(videos: Sequence[Video], jobs: int, run: Callable[[Video], list[Result]]) -> list[list[Result]]:
    bar = tqdm(total=len(videos), unit=" videos", disable=not sys.stderr.isatty())
    results = []
    if jobs <= 1:
        for video in videos:
            results.append(run(video))
            bar.update()
        return results
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(run, video) for video in videos]:
            results.append(future.result())
            bar.update()
    return results


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
