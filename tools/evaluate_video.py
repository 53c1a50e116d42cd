"""Score the pipeline on labelled videos.

    python -m tools.evaluate_video --weights NAME --data DIR [--videos LIST] [--config FILE] [--set KEY=VALUE ...]
                                   [--jobs N] [--frames N] [--keep DIR] [--json FILE] [--curve FILE] [--sheet DIR]

Every ``NAME.csv`` below DIR with a video ``NAME.mp4`` (also .avi, .mkv, .mov, .webm) or a folder of frames ``NAME/``
beside it is one labelled video.
The CSV header is ``frame,x,y,w,h``: the frame number from 0 in decoding order, and the top-left corner and size of the
box in px. A point target leaves w and h empty; a frame without a row has no target. If a frame has several rows, the
k-th row must always be the same target; otherwise HOTA, IDF1 and identity switches are meaningless. The videos of one
folder form a set named after the folder.

The real pipeline stages run one after another (``tools/replay.py``). A target matches a confirmed or coasting track
within max(5 px, half the diagonal of its box). ``fps`` is the throughput of the stages from the second frame of each
video on, because the network is loaded before the first. It is reported only without ``--keep``, ``--curve`` and
``--jobs`` above 1, which would change it.

When a video cannot be evaluated, or on Ctrl-C, the figures of the videos that are done are reported; the JSON file
names those that are ``missing``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline import config as configuration
from pipeline import output_file
from pipeline.argument_parser import add_settings
from pipeline.arguments import count
from pipeline.config import Config
from pipeline.errors import INTERRUPTED, ConfigError, PipelineError, StageError, one_line
from pipeline.messages import TENTATIVE, Table
from pipeline.process import die_with
from pipeline.sinks.folder import claim
from tools import mot_metrics, video_curve, video_sheet
from tools.replay import DetectionCache, check_addresses, detect, track
from tools.video_figures import Result, Video, by_class, by_set, summarise, table
from tools.video_labels import check_label_frames, find_videos, read_labels

NO_BOXES = np.empty((0, 4))


def evaluate(
    video: Video,
    config: Config,
    thresholds: Sequence[float | None],
    most: int | None = None,
    keep: Path | None = None,
    messages_too: bool = False,
    timed: bool = True,
) -> list[Result]:
    """Run the pipeline on one video and compare every frame with its labels.

    Args:
        video: the video to run.
        config: configuration of the stages; its detection threshold is ignored.
        thresholds: detection thresholds; None stands for the threshold the weights were validated with.
        most: run only the first so many frames.
        keep: folder that caches detections; they are loaded from there if present.
        messages_too: include the tracker's messages at the first threshold in its result.
        timed: measure the run time. Pass False where the time would include other work or omit part of the work.

    Returns:
        One result per threshold. All share the same time.

    Raises:
        ConfigError: the labels cannot be read, or belong to frames that the video does not have.
    """
    labels = read_labels(video.labels)
    begun = ended = 0.0
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
        ended = time.perf_counter()
        begun = begun or ended
    check_label_frames(video, labels, set(numbers), most)
    fps = (len(pts) - 1) / (pts[-1] - pts[0]) if len(pts) > 1 and pts[-1] > pts[0] else float("nan")
    seconds, count = ended - begun if timed else 0.0, max(1, len(pts))
    return [
        Result(video, frames[k], fps, seconds, detections[k] / count, kept if k == 0 else ())
        for k in range(len(thresholds))
    ]


def compare(boxes: NDArray[np.float64], tracks: Table) -> mot_metrics.Frame:
    """Compare the tracks of a frame (``TRACK_DTYPE``) with its targets (n, 4): centre x, centre y, w, h in px."""
    shown = tracks[tracks["state"] != TENTATIVE]
    where = np.stack([shown["x"], shown["y"]], axis=1)
    return mot_metrics.frame(np.arange(len(boxes)), boxes[:, :2], mot_metrics.reach(boxes[:, 2:]), shown["id"], where)


def main(argv: Sequence[str]) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(prog="tools.evaluate_video", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", help="weights: shipped name or path (default: those of the configuration)")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the labelled videos, searched recursively"
    )
    parser.add_argument("--videos", default="", help="names of the videos to run, separated by commas (default: all)")
    parser.add_argument("--config", type=Path, help="YAML configuration of the pipeline")
    add_settings(parser)
    parser.add_argument(
        "--jobs", type=count, default=1, help="videos processed in parallel; above 1, each uses one CPU thread"
    )
    parser.add_argument("--frames", type=count, help="process only the first N frames of each video")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="cache detections in this folder and reuse them")
    parser.add_argument("--json", type=Path, help="write all figures to this JSON file, also per class and video")
    parser.add_argument(
        "--curve",
        type=Path,
        metavar="FILE.json|FILE.png",
        help="write or plot Pd against false tracks over detection thresholds",
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="DIR", help="draw contact sheets of the errors in the worst videos"
    )
    args = parser.parse_args(argv)
    settings = list(args.settings)
    settings += [f"detect.weights={args.weights}"] if args.weights else []
    settings += ["detect.threads=1"] if args.jobs > 1 else []
    try:
        _check_outputs(args.json, args.curve, args.sheet)
        config = configuration.load(args.config, settings)
        videos = find_videos(args.data, [name for name in args.videos.split(",") if name])
        check_addresses(config, [str(video.medium) for video in videos])
        thresholds = [config.detect.threshold, *(video_curve.THRESHOLDS if args.curve else ())]
        for video in videos:
            read_labels(video.labels)  # a malformed file must not end a long run
        run = partial(
            evaluate, config=config, thresholds=thresholds, most=args.frames, keep=args.keep,
            messages_too=args.sheet is not None, timed=not args.keep and not args.curve and args.jobs == 1,
        )  # fmt: skip
        runs: list[list[Result]] = []
        try:
            for done in _run_all(videos, args.jobs, run):
                runs.append(done)
        finally:
            if 0 < len(runs) < len(videos):
                sys.stderr.write(f"tools.evaluate_video: only {len(runs)} of {len(videos)} videos were evaluated\n")
            if runs:
                _report(sorted(runs, key=lambda done: videos.index(done[0].video)), videos, config, args)
    except PipelineError as error:
        sys.stderr.write(f"tools.evaluate_video: error: {one_line(error)}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _check_outputs(json: Path | None, curve: Path | None, sheet: Path | None) -> None:
    """Check before the long run that the outputs can be written after it."""
    if curve and curve.suffix not in video_curve.SUFFIXES:
        raise ConfigError(f"--curve {curve}: expected a name that ends in {' or '.join(video_curve.SUFFIXES)}")
    for option, path in (("--json", json), ("--curve", curve)):
        if path:
            output_file.check(option, path)
    if curve and curve.suffix == ".png" and find_spec("matplotlib") is None:
        raise ConfigError("--curve: matplotlib is missing; pip install '.[train]'")
    if sheet:
        claim(sheet)


def _report(
    runs: Sequence[Sequence[Result]], videos: Sequence[Video], config: Config, args: argparse.Namespace
) -> None:
    """Print the table of all videos that were run, and write the files that were asked for."""
    results = [run[0] for run in runs]
    sets = {name: summarise(members) for name, members in by_set(results).items()}
    classes = {name: summarise(members) for name, members in by_class(results).items()}
    sys.stdout.write(table({**sets, **classes}) + "\n")
    if args.json:
        done = {_named(result.video): summarise([result]) for result in results}
        missing = [name for name in map(_named, videos) if name not in done]
        report = {"config": config, "sets": sets, "classes": classes, "videos": done, "missing": missing}
        try:
            args.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
        except OSError as error:
            raise ConfigError(f"{args.json}: {error.strerror}") from None
    if args.curve:
        swept = {t: [run[k] for run in runs] for k, t in enumerate(video_curve.THRESHOLDS, start=1)}
        video_curve.write(video_curve.curves(swept), args.curve)
    if args.sheet:
        for result in video_sheet.worst(results):
            path = video_sheet.write(result, read_labels(result.video.labels), config.capture, args.sheet)
            sys.stderr.write(f"{path}\n")


def _named(video: Video) -> str:
    return f"{video.group}/{video.name}"


def _run_all(videos: Sequence[Video], jobs: int, run: Callable[[Video], list[Result]]) -> Iterator[list[Result]]:
    """Yield the results of every video as soon as it is done."""
    with tqdm(total=len(videos), unit=" videos", disable=not sys.stderr.isatty()) as bar:
        if jobs <= 1:
            for video in videos:
                yield run(video)
                bar.update()
            return
        with ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=_begin_process, initargs=(os.getpid(),)
        ) as pool:
            try:
                for future in as_completed([pool.submit(run, video) for video in videos]):
                    yield future.result()
                    bar.update()
            except BrokenProcessPool:
                raise StageError("a process of --jobs was killed; is there memory for so many?") from None
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _begin_process(parent: int) -> None:
    die_with(parent)
    # Ctrl-C reaches all processes of a terminal. It ends these at once, without a traceback from each.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
