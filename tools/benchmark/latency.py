"""A live scene at a steady pace below capacity: how old tracks are, and where a frame spends its time."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config import Config
from tools.benchmark.bare import BareNetwork, grabs
from tools.benchmark.job import Findings, Unmeasured
from tools.benchmark.observed import Observation, Passage, observe
from tools.trend import percentile

PACE = 25.0
MAX_LOAD = 0.8
"""Largest share of what the whole pipeline does at which the camera runs."""
FRAMES = 50
"""That tell what the whole pipeline does; two batches if these are more."""
MAX_NETWORK_S = 1.0
"""Longer than this the network may not take for one of them."""


class Latency(Struct, frozen=True, kw_only=True):
    """Age of tracks, from capture to the end of the track stage.

    Attributes:
        size: width x height.
        backend: with its precision.
        pace: frames per second of the camera.
        frames: that came through while watched.
        dropped: meanwhile.
        network_ms: median of a single frame through the network alone, in this run.
        p50_ms, p95_ms, p99_ms: of the ages.
        p99_over_network_ms: what all the rest adds.
    """

    size: str
    backend: str
    pace: float
    frames: int
    dropped: int
    network_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p99_over_network_ms: float


class StageTime(Struct, frozen=True, kw_only=True):
    """Where a frame spends its time, and the machine its CPU.

    Attributes:
        size: width x height.
        stage: its name, or ``other threads``: those that no stage has to itself, mostly the network's.
        waited_ms: from the end of the stage before, or from capture, until this one began; median.
        worked_ms: in the stage; median.
        cpu_ms: CPU time per frame.
    """

    size: str
    stage: str
    waited_ms: float | None
    worked_ms: float | None
    cpu_ms: float | None


def latency(size: tuple[int, int], seconds: float, warm_up_s: float, config: Config, folder: Path) -> Findings:
    """Watch a run at ``PACE``, or at a slower one where the pipeline would not keep up.

    Args:
        size: width and height.
        seconds: to watch.
        warm_up_s: from the first result on, not watched.
        config: of the run.
        folder: for temporary files.

    Raises:
        PipelineError: the run or the network cannot be used, or a frame takes seconds.
    """
    label = f"{size[0]}x{size[1]}"
    scene = f"test://demo?width={size[0]}&height={size[1]}"
    single = replace(config, detect=replace(config.detect, batch_size=1))
    pictures = [grab.picture for grab in grabs(f"{scene}&frames=9", config)]
    network = BareNetwork(single)
    network_s = statistics.median(network.seconds(pictures))
    if network_s > MAX_NETWORK_S:
        raise Unmeasured(f"latency {label}: the network takes {network_s:.1f} s a frame")
    with TemporaryDirectory(dir=folder) as out:
        frames = max(FRAMES, 2 * config.detect.batch_size)
        whole = observe(config, [f"{scene}&frames={frames}"], Path(out) / "whole")
        pace = min(PACE, MAX_LOAD * whole.rate)
        camera = f"{scene}&frames=25&loop=1&live=1&fps={pace:.3f}"
        seen = observe(config, [camera], Path(out) / "out", seconds, warm_up_s)
    ages = [passage.track_ms for passage in seen.passages]
    p50, p95, p99 = (percentile(ages, percent) for percent in (50, 95, 99))
    row = Latency(
        size=label,
        backend=network.name,
        pace=pace,
        frames=len(ages),
        dropped=sum(seen.dropped.values()),
        network_ms=1000 * network_s,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        p99_over_network_ms=p99 - 1000 * network_s,
    )
    slower = f"latency {label}: at {pace:.1f} instead of {PACE:g} frames/s, {MAX_LOAD:.0%} of what the pipeline does"
    return Findings({"latency": [row], "stages": stage_times(label, seen)}, [slower] if pace < PACE else [])


def stage_times(size: str, seen: Observation) -> list[StageTime]:
    """By stage, in the order that frames pass them."""
    waited: defaultdict[str, list[float]] = defaultdict(list)
    worked: defaultdict[str, list[float]] = defaultdict(list)
    for passage in seen.passages:
        for stage, wait_ms, work_ms in _steps(passage):
            waited[stage].append(wait_ms)
            worked[stage].append(work_ms)
    cpu = seen.cpu_ms_per_frame()
    stages = ["capture", *waited, *(name for name in cpu if name != "capture" and name not in waited)]
    return [
        StageTime(
            size=size,
            stage=stage,
            waited_ms=statistics.median(waited[stage]) if stage in waited else None,
            worked_ms=statistics.median(worked[stage]) if stage in worked else None,
            cpu_ms=cpu.get(stage),
        )
        for stage in stages
    ]


def _steps(passage: Passage) -> Iterator[tuple[str, float, float]]:
    """Stage, time waited before it and time in it, in ms."""
    before = passage.capture_ns
    for stamp in passage.stamps:
        yield stamp.stage, (stamp.enter_ns - before) / 1e6, (stamp.leave_ns - stamp.enter_ns) / 1e6
        before = stamp.leave_ns
