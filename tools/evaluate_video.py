"""Score the pipeline on labelled videos.

    python -m tools.evaluate_video --weights NAME --data DIR [--videos LIST] [--config FILE] [--set KEY=VALUE ...]
                                   [--jobs N] [--frames N] [--json FILE]

Every ``NAME.csv`` below DIR that lies beside ``NAME.mp4`` or a folder ``NAME/`` of frames is one video; its header
is ``frame,x,y,w,h`` (frame from 0 in decoding order, box top-left and size in px; a point has empty w,h; a frame
without a row has no target). The real stages run one after another without queues, so the tracks are those of
``run_stream.py``. A true target matches a confirmed or coasting track within max(5 px, half its box's diagonal).
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from tqdm import tqdm

from pipeline import config as configuration
from pipeline.capture.factory import open_source
from pipeline.config import Config
from pipeline.detect.stage import DetectStage
from pipeline.errors import ConfigError, PipelineError, one_line
from pipeline.messages import TENTATIVE, Tracked
from pipeline.preprocess.stage import PreprocessStage
from pipeline.stage import Stage
from pipeline.track.stage import TrackStage
from tools import mot_metrics

NO_BOXES = np.empty((0, 4))


class Video(NamedTuple):
    """A labelled video: where it lies and what it is part of."""

    group: str
    name: str
    medium: Path
    labels: Path


class Result(NamedTuple):
    """What the pipeline showed of one video, against its truth.

    Attributes:
        frames: comparison per frame, for the metrics.
        fps: media frames per second.
        seconds: wall time of processing.
        detections: detections per frame, before tracking.
    """

    video: Video
    frames: list[mot_metrics.Frame]
    fps: float
    seconds: float
    detections: float


def find_videos(data: Path, names: Sequence[str] = ()) -> list[Video]:
    """All labelled videos below a folder, or those of the given names.

    Raises:
        ConfigError: the folder or a named video does not exist, or nothing is labelled.
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
    return videos


def read_labels(path: Path) -> dict[int, list[tuple[float, float, float, float]]]:
    """Boxes by frame as centre x, centre y, w, h in px; w and h are nan for points.

    Box corners are edges of pixels and coordinates count from the centre of the first pixel, hence the half.

    Raises:
        ConfigError: names the file and line.
    """
    boxes: defaultdict[int, list[tuple[float, float, float, float]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                x, y = float(row["x"]), float(row["y"])
                if row["w"]:
                    w, h = float(row["w"]), float(row["h"])
                    boxes[int(row["frame"])].append((x + w / 2 - 0.5, y + h / 2 - 0.5, w, h))
                else:
                    boxes[int(row["frame"])].append((x, y, float("nan"), float("nan")))
            except (KeyError, TypeError, ValueError):
                raise ConfigError(f"{path}:{number}: expected frame,x,y,w,h") from None
    return dict(boxes)


def track_video(address: str, config: Config, frames: int | None = None) -> Iterator[Tracked]:
    """Run the stages on a file, one frame after another, at most ``frames`` of them."""
    source = open_source(address, config.capture)
    stages: list[Stage] = [
        PreprocessStage(config.detect.weights, config.preprocess.ego_motion),
        DetectStage(config.detect),
        TrackStage(config.track, config.detect.weights, config.detect.threshold),
    ]
    source.open()
    try:
        for stage in stages:
            stage.open()
        seq = 0
        while (frames is None or seq < frames) and (grab := source.grab()) is not None:
            packets = [grab.packet("evaluation", "video", seq)]
            for stage in stages:
                packets = list(stage.process(packets))
            (packet,) = packets
            assert isinstance(packet.message, Tracked)
            yield packet.message
            seq += 1
    finally:
        for stage in stages:
            stage.close()
        source.close()


def evaluate(video: Video, config: Config, most: int | None = None) -> Result:
    """Run one video, or its first ``most`` frames, and compare every frame."""
    labels = read_labels(video.labels)
    start = time.perf_counter()
    frames, detections, pts = [], 0, []
    for message in track_video(str(video.medium), config, most):
        tracks = message.track_table()
        shown = tracks[tracks["state"] != TENTATIVE]
        boxes = np.array(labels.get(message.header.frame, NO_BOXES), float).reshape(-1, 4)
        frames.append(
            mot_metrics.frame(
                np.arange(len(boxes)),
                boxes[:, :2],
                mot_metrics.reach(boxes[:, 2:]),
                shown["id"],
                np.stack([shown["x"], shown["y"]], axis=1),
            )
        )
        detections += len(message.detection_table())
        pts.append(message.header.pts)
    fps = (len(pts) - 1) / (pts[-1] - pts[0]) if len(pts) > 1 and pts[-1] > pts[0] else float("nan")
    return Result(video, frames, fps, time.perf_counter() - start, detections / max(1, len(frames)))


def summarise(results: Sequence[Result]) -> dict[str, Any]:
    """Pooled figures of several videos; trajectories of different videos are different."""
    pooled, false_tracks, minutes, waits, never = [], 0, 0.0, [], 0
    for index, result in enumerate(results):
        offset = index * 1_000_000
        for f in result.frames:
            pooled.append(mot_metrics.Frame(f.truth_ids + offset, f.track_ids + offset, f.distance, f.similarity))
        good = {int(f.track_ids[k]) for f in result.frames for k in np.nonzero((f.similarity >= 0.5).any(axis=0))[0]}
        shown = {int(id_) for f in result.frames for id_ in f.track_ids}
        false_tracks += len(shown - good)
        minutes += len(result.frames) / result.fps / 60 if result.fps > 0 else 0.0
        labelled = [k for k, f in enumerate(result.frames) if len(f.truth_ids)]
        hits = [k for k in labelled if (result.frames[k].similarity >= 0.5).any()]
        if hits:
            waits.append(hits[0] - labelled[0])
        elif labelled:
            never += 1
    hota, clear, identity = mot_metrics.hota(pooled), mot_metrics.clear(pooled), mot_metrics.identity(pooled)
    labelled_frames = clear.matches + clear.misses
    return {
        "videos": len(results),
        "frames": len(pooled),
        "hota": round(hota.hota, 4),
        "det_a": round(hota.det_a, 4),
        "ass_a": round(hota.ass_a, 4),
        "mota": round(clear.mota, 4),
        "idf1": round(identity.idf1, 4),
        "switches": clear.switches,
        "pd": round(clear.matches / max(1, labelled_frames), 4),
        "motp_px": round(clear.motp_px, 2),
        "false_points_per_frame": round(clear.false_positives / max(1, len(pooled)), 3),
        "false_tracks_per_minute": round(false_tracks / minutes, 2) if minutes else None,
        "detections_per_frame": round(statistics.fmean(r.detections for r in results), 2),
        "frames_to_confirm": statistics.median(waits) if waits else None,
        "never_found": never,
        "fps": round(len(pooled) / max(1e-9, sum(r.seconds for r in results)), 1),
    }


def table(groups: dict[str, dict[str, Any]]) -> str:
    """The figures as a Markdown table, a line per group."""
    columns = {
        "videos": "videos", "frames": "frames", "hota": "HOTA", "mota": "MOTA", "idf1": "IDF1", "switches": "IDSW",
        "pd": "Pd", "false_tracks_per_minute": "false tracks/min", "false_points_per_frame": "false points/frame",
        "frames_to_confirm": "frames to confirm", "never_found": "never found", "fps": "fps",
    }  # fmt: skip
    lines = ["| set | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(str(row[key]) for key in columns) + " |" for name, row in groups.items()]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tools.evaluate_video", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", help="name or path (default: the configuration's)")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--videos", default="", help="names, separated by commas (default: all)")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY.PATH=VALUE")
    parser.add_argument("--jobs", type=int, default=1, help="videos at once, each with one CPU thread if above 1")
    parser.add_argument("--frames", type=int, help="only the first N frames of each video")
    parser.add_argument("--json", type=Path, help="write all figures, also per video")
    args = parser.parse_args(argv)
    settings = list(args.settings)
    settings += [f"detect.weights={args.weights}"] if args.weights else []
    settings += ["detect.threads=1"] if args.jobs > 1 else []
    try:
        config = configuration.load(args.config, settings)
        videos = find_videos(args.data, [name for name in args.videos.split(",") if name])
        results = _run_all(videos, config, args.jobs, args.frames)
    except PipelineError as error:
        sys.stderr.write(f"tools.evaluate_video: error: {one_line(error)}\n")
        return error.exit_code

    by_group: defaultdict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_group[result.video.group].append(result)
    groups = {group: summarise(members) for group, members in sorted(by_group.items())}
    sys.stdout.write(table(groups) + "\n")
    if args.json:
        per_video = {f"{r.video.group}/{r.video.name}": summarise([r]) for r in results}
        report = {"config": msgspec.to_builtins(config), "sets": groups, "videos": per_video}
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    return 0


def _run_all(videos: Sequence[Video], config: Config, jobs: int, most: int | None) -> list[Result]:
    bar = tqdm(total=len(videos), unit=" videos", disable=not sys.stderr.isatty())
    results = []
    if jobs <= 1:
        for video in videos:
            results.append(evaluate(video, config, most))
            bar.update()
        return results
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(evaluate, video, config, most) for video in videos]:
            results.append(future.result())
            bar.update()
    return results


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
