"""Part "tracker": quality and time per frame of our tracker and those of a library on the same detections.

The trackers process each frame in turns. Times are CPU times, which other programs do not lengthen, and exclude the
conversion of detections to the library's format. Scored are the confirmed and coasting tracks of our tracker, and the
detections that a library tracker assigned to a track.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pipeline.messages import TENTATIVE, EgoMotion, Table
from pipeline.track.clutter import ClutterConfig
from pipeline.track.config import TrackConfig
from pipeline.track.tracker import Tracker
from tools import mot_metrics, other_trackers
from tools.benchmark.job import Context, Findings, Job, Part
from tools.benchmark.swarm import Swarm, SwarmSpec, draw

THRESHOLD = 0.9
STILL = EgoMotion(ok=True)
Ids = NDArray[np.int64]
Points = NDArray[np.float64]
Update = Callable[[Table], tuple[float, Ids, Points]]
"""Processes the detections of a frame; returns CPU seconds, and ids (n,) and positions (n, 2) of the tracks shown."""


class Scope(Struct, frozen=True, kw_only=True):
    """How much is measured: numbers of targets, and number of frames."""

    targets: tuple[int, ...] = (1, 10, 100, 300, 1000)
    frames: int = 200


class Tracking(Struct, frozen=True, kw_only=True):
    """Result of one tracker on one simulation.

    Attributes:
        targets: number of targets, in view all the time.
        tracker: name of the tracker; "M of N" is ours without its memory of stationary clutter.
        hota, assa, mota: scores, at most 1; a track matches within 5 px.
        switches: number of identity switches.
        us: median CPU time of a frame.
        p99_us: 99th percentile of the CPU time of a frame.
        times_ours: median CPU time relative to our tracker.
    """

    targets: int
    tracker: str
    hota: float
    assa: float
    mota: float
    switches: int
    us: float
    p99_us: float
    times_ours: float


def jobs(scope: Scope, context: Context) -> list[Job]:
    """Return one job for each number of targets."""
    return [Job(f"tracker {count} targets", partial(compare, count, scope.frames)) for count in scope.targets]


def compare(targets: int, frames: int) -> Findings:
    """Run all trackers on one simulation, frame by frame in turns."""
    spec = SwarmSpec(targets=targets, frames=frames)
    swarm = draw(spec)
    updates = {"ours": _ours(spec, clutter=True), "ours, M of N": _ours(spec, clutter=False)}
    missing = []
    if other_trackers.AVAILABLE:
        updates["ByteTrack"] = _theirs(other_trackers.byte_track(spec.rate, THRESHOLD))
        updates["OC-SORT"] = _theirs(other_trackers.oc_sort(spec.rate, THRESHOLD))
    else:
        missing.append("ByteTrack and OC-SORT: not installed (pip install trackers)")
    seconds: dict[str, list[float]] = {name: [] for name in updates}
    scored: dict[str, list[mot_metrics.Frame]] = {name: [] for name in updates}
    for k, detections in enumerate(swarm.detections):
        for name, update in updates.items():
            spent, ids, places = update(detections)
            seconds[name].append(spent)
            scored[name].append(_compare(swarm, k, ids, places))
    ours = statistics.median(seconds["ours"])
    rows = [_row(targets, name, seconds[name], scored[name], ours) for name in updates]
    return Findings({"trackers": rows}, missing)


def _ours(spec: SwarmSpec, clutter: bool) -> Update:
    config = TrackConfig(max_tracks=10 * spec.targets + 256, clutter=ClutterConfig(enabled=clutter))
    tracker, dt = Tracker(config, THRESHOLD, (spec.height, spec.width)), 1 / spec.rate

    def update(detections: Table) -> tuple[float, Ids, Points]:
        start = time.thread_time()
        tracks = tracker.step(detections, dt, STILL)
        spent = time.thread_time() - start
        shown = tracks[tracks["state"] != TENTATIVE]
        return spent, shown["id"], _points(shown)

    return update


def _theirs(tracker: other_trackers.Library) -> Update:
    def update(detections: Table) -> tuple[float, Ids, Points]:
        points = _points(detections)
        boxed = other_trackers.boxed(points, detections)
        start = time.thread_time()
        answer = tracker.update(boxed)
        spent = time.thread_time() - start
        rows, ids = other_trackers.named(answer)
        return spent, np.array(ids, np.int64), points[rows]

    return update


def _compare(swarm: Swarm, k: int, ids: Ids, places: Points) -> mot_metrics.Frame:
    truth = swarm.truth[k]
    return mot_metrics.frame(np.arange(len(truth)), truth, mot_metrics.MIN_REACH_PX, ids, places)


def _row(targets: int, name: str, seconds: list[float], frames: list[mot_metrics.Frame], ours: float) -> Tracking:
    hota, clear = mot_metrics.hota(frames), mot_metrics.clear(frames)
    return Tracking(
        targets=targets,
        tracker=name,
        hota=hota.hota,
        assa=hota.ass_a,
        mota=clear.mota,
        switches=clear.switches,
        us=1e6 * statistics.median(seconds),
        p99_us=1e6 * float(np.percentile(seconds, 99)),
        times_ours=statistics.median(seconds) / ours,
    )


def _points(table: Table) -> Points:
    return np.stack([table["x"], table["y"]], axis=1)


PART = Part(
    "tracker",
    "Our tracker and those of a library on the same detections of generated targets (25 frames/s, 92 % detected, "
    "error 0.5 px, five false ones a frame).",
    Scope(),
    Scope(targets=(1, 10, 100), frames=75),
    jobs,
)
