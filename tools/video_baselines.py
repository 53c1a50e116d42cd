"""Compare the pipeline with simpler baselines on the same labelled videos.

    python -m tools.video_baselines --data DIR [--weights NAME] [--videos LIST] [--set KEY=VALUE ...]
                                    [--frames N] [--keep DIR]

Prints one table row per baseline and set of videos. The detections of network and motion are scored without a tracker,
with the tracker confirming by M of N alone, with the tracker as configured, and with ByteTrack matching by centre
distance (``pip install trackers``; skipped if missing). The last baseline replaces both detectors by a top-hat filter.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline import config as configuration
from pipeline.argument_parser import add_settings
from pipeline.arguments import count
from pipeline.capture.factory import open_source
from pipeline.config import Config
from pipeline.errors import INTERRUPTED, PipelineError, one_line
from pipeline.messages import Detected, Table
from tools import other_trackers, replay, tophat
from tools.evaluate_video import NO_BOXES, compare
from tools.video_figures import Boxes, Result, Video, by_set, summarise, table
from tools.video_labels import check_label_frames, find_videos, read_labels

Way = Callable[[Video, Sequence[Detected], Config], Iterable[Table]]


def untracked(video: Video, seen: Sequence[Detected], config: Config) -> Iterator[Table]:
    """Report every detection above the detection threshold as a track of one frame."""
    threshold = replay.threshold(config)
    numbers = itertools.count(1)
    for message in seen:
        detections = message.table()
        strong = detections[detections["score"] >= threshold]
        yield other_trackers.shown(strong, [next(numbers) for _ in strong])


def tracked(video: Video, seen: Sequence[Detected], config: Config) -> Iterator[Table]:
    """Run the tracker as configured."""
    for (message,) in replay.track(([one] for one in seen), config, [config.detect.threshold]):
        yield message.track_table()


def m_of_n(video: Video, seen: Sequence[Detected], config: Config) -> Iterator[Table]:
    """Run the tracker with M-of-N confirmation only: stationary clutter is confirmed as well."""
    clutter = replace(config.track.clutter, enabled=False)
    yield from tracked(video, seen, replace(config, track=replace(config.track, clutter=clutter)))


def top_hat(video: Video, seen: Sequence[Detected], config: Config) -> Iterator[Table]:
    """Run the tracker as configured on top-hat detections, with the same ego-motion."""
    source = open_source(str(video.medium), config.capture)
    source.open()
    try:
        found = []
        for message in seen:
            grab = source.grab()
            assert grab is not None
            found.append(replace(message, detections=tophat.find(grab.picture).tobytes()))
    finally:
        source.close()
    detect = replace(config.detect, threshold=tophat.THRESHOLD)
    track = replace(config.track, high_score=None, low_score=tophat.LOW)  # scores of the top-hat have another scale
    yield from tracked(video, found, replace(config, detect=detect, track=track))


def byte_track(video: Video, seen: Sequence[Detected], config: Config) -> Iterator[Table]:
    """Run ByteTrack on the same detections as boxes of 5 px, matched if their centres are less than 6 px apart."""
    tracker = other_trackers.byte_track(other_trackers.frame_rate(seen), replay.start(config))
    yield from other_trackers.tracked(tracker, seen)


def main(argv: Sequence[str]) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(prog="tools.video_baselines", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", help="weights: shipped name or path (default: those of the configuration)")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the labelled videos, searched recursively"
    )
    parser.add_argument("--videos", default="", help="names of the videos to run, separated by commas (default: all)")
    add_settings(parser)
    parser.add_argument("--frames", type=count, help="process only the first N frames of each video")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="cache detections in this folder and reuse them")
    args = parser.parse_args(argv)
    ways: dict[str, Way] = {
        "top-hat, tracker": top_hat,
        "network and motion, untracked": untracked,
        "network and motion, ByteTrack": byte_track,
        "network and motion, M of N": m_of_n,
        "network and motion, tracker": tracked,
    }
    if not other_trackers.AVAILABLE:
        del ways["network and motion, ByteTrack"]
    try:
        config = configuration.load(
            None, [*args.settings, *([f"detect.weights={args.weights}"] if args.weights else [])]
        )
        results: dict[str, list[Result]] = {name: [] for name in ways}
        videos = find_videos(args.data, [name for name in args.videos.split(",") if name])
        replay.check_addresses(config, [str(video.medium) for video in videos])
        for video in videos:
            read_labels(video.labels)  # a malformed file must not end a long run
        try:
            for video in tqdm(videos, unit=" videos", disable=not sys.stderr.isatty()):
                labels = read_labels(video.labels)
                find = replay.DetectionCache(args.keep).detect if args.keep else replay.detect
                seen = [one for (one,) in find(str(video.medium), config, [config.detect.threshold], args.frames)]
                check_label_frames(video, labels, {message.header.frame for message in seen}, args.frames)
                for name, way in ways.items():
                    results[name].append(_score(video, labels, seen, way(video, seen, config)))
        finally:
            _report(results)
    except PipelineError as error:
        sys.stderr.write(f"tools.video_baselines: error: {one_line(error)}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _report(results: dict[str, list[Result]]) -> None:
    """Print the table of all videos that were run, if any."""
    rows = {
        f"{group}: {name}": summarise(members)
        for name, scored in results.items()
        for group, members in by_set(scored).items()
    }
    if rows:
        sys.stdout.write(table(dict(sorted(rows.items(), key=lambda row: row[0].split(": ")[0]))) + "\n")


def _score(video: Video, labels: Boxes, seen: Sequence[Detected], tracks: Iterable[Table]) -> Result:
    frames = []
    for message, shown in zip(seen, tracks, strict=True):
        boxes: NDArray[np.float64] = np.array(labels.get(message.header.frame, NO_BOXES), float).reshape(-1, 4)
        frames.append(compare(boxes, shown))
    pts = [message.header.pts for message in seen]
    rate = (len(pts) - 1) / (pts[-1] - pts[0]) if len(pts) > 1 and pts[-1] > pts[0] else float("nan")
    mean = sum(len(message.table()) for message in seen) / max(1, len(seen))
    return Result(video, frames, rate, 0.0, mean)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
