"""Part "streams": how many cameras one machine sustains, and how cost grows with streams, size and targets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from pipeline.config import Config
from tools.benchmark.bare import load
from tools.benchmark.job import Context, Findings, Job, Part, Unmeasured, reason
from tools.benchmark.observed import Observation, observe
from tools.trend import percentile

MOST_CAMERAS = 128
SLACK = 0.98
"""Share of its nominal frames that a camera must capture to count as having kept its frame rate."""

Size = tuple[int, int]


class Scope(Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        size: width and height of the cameras' pictures.
        pace: frame rate of the cameras, frames per second.
        seconds: measured time for each number of cameras.
        warm_up_s: time that is not measured after every camera has produced a result.
        streams, sizes, targets: values along which the growth of cost is measured, one axis at a time.
        growth_s: measured time for each of these values.
        cameras: try only these numbers of cameras and measure nothing else; empty searches for the largest number and
            measures the growth of cost.
    """

    size: Size = (640, 512)
    pace: float = 25.0
    seconds: float = 8.0
    warm_up_s: float = 4.0
    streams: tuple[int, ...] = (1, 2, 4, 8)
    sizes: tuple[Size, ...] = ((160, 128), (320, 256), (640, 512), (1280, 1024))
    targets: tuple[int, ...] = (1, 8, 64)
    growth_s: float = 5.0
    cameras: tuple[int, ...] = ()


class Cameras(Struct, frozen=True, kw_only=True):
    """Result for a number of live cameras under the bounded policy.

    Attributes:
        cameras: number of cameras; they play from memory, each in a process of its own.
        size: width x height.
        backend: backend with its precision.
        batch: batch size of the network; a batch may mix cameras.
        pace: frame rate of each camera, frames per second.
        holds: whether every camera delivered its frames at that rate and none was dropped.
        frames_per_s: results per second over all cameras.
        dropped: frames dropped during the measurement.
        p99_ms: 99th percentile of the age of tracks.
        cores: mean number of busy cores, including those of the cameras.
        busiest: stage with the largest working share, the bottleneck if there are too many cameras.
        busy: working share of that stage.
    """

    cameras: int
    size: str
    backend: str
    batch: int
    pace: float
    holds: bool
    frames_per_s: float
    dropped: int
    p99_ms: float
    cores: float
    busiest: str
    busy: float


class Growth(Struct, frozen=True, kw_only=True):
    """Cost of a lossless run from memory at full speed.

    Attributes:
        axis: quantity that is varied.
        value: its value.
        frames_per_s: results per second over all streams.
        cpu_ms: CPU time per frame over all stages and threads.
        times_first: CPU time relative to the first value of the axis that was measured.
    """

    axis: str
    value: str
    frames_per_s: float
    cpu_ms: float
    times_first: float


def jobs(scope: Scope, context: Context) -> list[Job]:
    """Return a job for the number of cameras and one per axis; or one per number of cameras if these are given."""
    config = load(context)
    if scope.cameras:
        return [
            Job(f"{count} cameras", partial(some_cameras, count, scope, config, context)) for count in scope.cameras
        ]
    small = scope.sizes[0]
    axes: dict[str, list[tuple[str, int, Size, int]]] = {
        "streams": [(str(count), count, small, 6) for count in scope.streams],
        "size": [(f"{size[0]}x{size[1]}", 1, size, 6) for size in scope.sizes],
        "targets": [(str(count), 1, scope.sizes[-1], count) for count in scope.targets],
    }
    return [
        Job("cameras", partial(cameras, scope, config, context)),
        *(
            Job(f"growth with {axis}", partial(growth, axis, runs, scope, config, context))
            for axis, runs in axes.items()
        ),
    ]


def cameras(scope: Scope, config: Config, context: Context) -> Findings:
    """Search for the largest number of cameras that holds, by doubling and then by bisection.

    A number that cannot be measured counts as too large.
    """
    rows: dict[int, Cameras] = {}
    missing: list[str] = []

    def holds(count: int) -> bool:
        try:
            rows[count] = try_cameras(count, scope, config, context)
        except Exception as error:  # the other numbers are still figures
            missing.append(f"{count} cameras: {reason(error)}")
            return False
        return rows[count].holds

    greatest(holds, MOST_CAMERAS)
    return Findings({"cameras": [rows[count] for count in sorted(rows)]} if rows else {}, missing)


def some_cameras(count: int, scope: Scope, config: Config, context: Context) -> Findings:
    """Try one number of cameras."""
    return Findings({"cameras": [try_cameras(count, scope, config, context)]})


def greatest(holds: Callable[[int], bool], most: int) -> int:
    """Find the largest number from 0 to ``most`` that holds.

    Assumes that all numbers below one that holds hold too. Each number is tried at most once.
    """
    low, high = 0, 1
    while high <= most and holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def try_cameras(count: int, scope: Scope, config: Config, context: Context) -> Cameras:
    """Measure a run with so many cameras."""
    width, height = scope.size
    address = f"test://demo?width={width}&height={height}&frames=25&loop=1&live=1&fps={scope.pace:g}"
    seen = watch(address, count, scope.seconds, scope, config, context)
    dropped = sum(seen.dropped.values())
    if not seen.busy:
        raise Unmeasured("no stage has reported how busy it is")
    busiest = max(seen.busy, key=lambda stage: seen.busy[stage])
    paced = min(seen.captured.values()) >= SLACK * scope.pace * seen.seconds - 1
    return Cameras(
        cameras=count,
        size=f"{width}x{height}",
        backend=f"{seen.facts['backend']} {seen.facts['precision']}",
        batch=config.detect.batch_size,
        pace=scope.pace,
        holds=paced and not dropped,
        frames_per_s=len(seen.passages) / seen.seconds,
        dropped=dropped,
        p99_ms=percentile([passage.track_ms for passage in seen.passages], 99),
        cores=_cpu_ms(seen) * len(seen.passages) / 1000 / seen.seconds,
        busiest=busiest,
        busy=seen.busy[busiest],
    )


def watch(address: str, count: int, seconds: float, scope: Scope, config: Config, context: Context) -> Observation:
    """Measure a run with so many scenes of one kind, each with its own seed."""
    sources = [f"{address}&seed={seed}" for seed in range(count)]
    with TemporaryDirectory(dir=context.folder) as folder:
        return observe(config, sources, Path(folder) / "out", seconds, scope.warm_up_s)


def growth(
    axis: str, runs: list[tuple[str, int, Size, int]], scope: Scope, config: Config, context: Context
) -> Findings:
    """Measure the cost along one axis; each run is a label, a number of streams, a size and a number of targets."""
    rows: list[Growth] = []
    missing: list[str] = []
    for label, streams, (width, height), targets in runs:
        address = f"test://demo?width={width}&height={height}&frames=25&loop=1&targets={targets}"
        try:
            seen = watch(address, streams, scope.growth_s, scope, config, context)
        except Exception as error:  # the other values are still figures
            missing.append(f"growth with {axis}, {label}: {reason(error)}")
            continue
        cost = _cpu_ms(seen)
        first = rows[0].cpu_ms if rows else cost
        rows.append(Growth(axis=axis, value=label, frames_per_s=seen.rate, cpu_ms=cost, times_first=cost / first))
    return Findings({"growth": rows} if rows else {}, missing)


def _cpu_ms(seen: Observation) -> float:
    return sum(seen.cpu_ms_per_frame().values())


PART = Part(
    "streams",
    "Cameras that one machine sustains without a drop, and the growth of cost along one axis at a time.",
    Scope(),
    Scope(
        size=(320, 256),
        seconds=4.0,
        warm_up_s=2.0,
        streams=(1, 2),
        sizes=((160, 128), (320, 256)),
        targets=(1, 64),
        growth_s=3.0,
    ),
    jobs,
)
