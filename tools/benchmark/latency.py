"""Latency on a live scene at a steady rate below capacity: age of tracks, and where a frame spends its time."""

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

PACE = 25.0  # frames per second
MAX_LOAD = 0.8
"""Largest frame rate of the camera, as a share of the throughput of the whole pipeline."""
FRAMES = 50
"""Number of frames for measuring the throughput of the whole pipeline; two batches if these are more."""
MAX_NETWORK_S = 1.0
"""Latency is not measured if the network takes longer than this for one frame."""


class Latency(Struct, frozen=True, kw_only=True):
    """Age of tracks, from capture to the end of the track stage.

    Attributes:
        size: width x height.
        backend: backend with its precision.
        pace: frame rate of the camera, frames per second.
        frames: frames processed during the measurement.
        dropped: frames dropped during the measurement.
        network_ms: median time of a single frame through the network alone, in this run.
        p50_ms, p95_ms, p99_ms: percentiles of the ages.
        p99_over_network_ms: p99 minus the network time, the latency that everything else adds.
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
    """Latency and CPU time of one stage.

    Attributes:
        size: width x height.
        stage: name of the stage, or ``other threads`` for threads shared by stages, mostly those of the network.
        waited_ms: median time from the end of the previous stage, or from capture, to the start of this one.
        worked_ms: median time in the stage.
        cpu_ms: CPU time per frame.
    """

    size: str
    stage: str
    waited_ms: float | None
    worked_ms: float | None
    cpu_ms: float | None


def latency(size: tuple[int, int], seconds: float, warm_up_s: float, config: Config, folder: Path) -> Findings:
    """Measure a run at ``PACE``, or at a slower rate if the pipeline would not keep up.

    Args:
        size: width and height.
        seconds: duration of the measurement.
        warm_up_s: time after the first result that is not measured.
        config: configuration of the run.
        folder: folder for temporary files.

    Raises:
        PipelineError: the run or the network cannot be used, or the network takes more than ``MAX_NETWORK_S`` a frame.
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
    slower = (
        f"latency {label}: at {pace:.1f} instead of {PACE:g} frames/s, {MAX_LOAD:.0%} of the throughput of the pipeline"
    )
    return Findings({"latency": [row], "stages": stage_times(label, seen)}, [slower] if pace < PACE else [])


def stage_times(size: str, seen: Observation) -> list[StageTime]:
    """Compute the times of each stage, in the order that frames pass them."""
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
    """Yield each stage with the time waited before it and the time spent in it, in ms."""
    before = passage.capture_ns
    for stamp in passage.stamps:
        yield stamp.stage, (stamp.enter_ns - before) / 1e6, (stamp.leave_ns - stamp.enter_ns) / 1e6
        before = stamp.leave_ns
