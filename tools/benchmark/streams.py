"""How many cameras one machine holds, and how cost grows with cameras, size and targets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from pipeline.config import Config
from tools.benchmark.bare import load
from tools.benchmark.job import Context, Findings, Job, Part, Unmeasured
from tools.benchmark.observed import Observation, observe
from tools.trend import percentile

MOST_CAMERAS = 128
SLACK = 0.98
"""Share of its frames that a camera must give to count as one that kept its pace."""

Size = tuple[int, int]


class Scope(Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        size: of the cameras' pictures, width and height.
        pace: of the cameras, frames per second.
        seconds: that each number of cameras is watched.
        warm_up_s: from the last camera's first result on, not watched.
        streams, sizes, targets: values along which cost is followed, the others being those of the first.
        growth_s: that each of them is watched.
        cameras: numbers to try, and nothing else; none searches, and follows the growth.
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
    """A number of live cameras under the bounded policy.

    Attributes:
        cameras: played from memory, each a process of its own.
        size: width x height.
        backend: with its precision.
        batch: frames of any cameras that the network gets at once.
        pace: frames per second of each.
        holds: every camera gave its frames at that pace, and none was dropped.
        frames_per_s: results per second, over all cameras.
        dropped: frames while watched.
        p99_ms: age of tracks.
        cores: busy on average, those of the cameras included.
        busiest: stage that had the least time to spare, the one that holds up the others where they are too many.
        busy: share of the time in which it was at work.
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
    """A lossless run from memory, as fast as it goes.

    Attributes:
        axis: what is varied.
        value: of it.
        frames_per_s: results over all streams.
        cpu_ms: CPU time per frame, all stages and threads.
        times_first: CPU time against the first value of the axis.
    """

    axis: str
    value: str
    frames_per_s: float
    cpu_ms: float
    times_first: float


def jobs(scope: Scope, context: Context) -> list[Job]:
    """The number of cameras, then one for each axis; or one for each number of cameras that is asked for."""
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
    """Search for the greatest number that holds: doubling, then halving the distance."""
    rows: dict[int, Cameras] = {}

    def holds(count: int) -> bool:
        rows[count] = try_cameras(count, scope, config, context)
        return rows[count].holds

    greatest(holds, MOST_CAMERAS)
    return Findings({"cameras": [rows[count] for count in sorted(rows)]})


def some_cameras(count: int, scope: Scope, config: Config, context: Context) -> Findings:
    """Try one number."""
    return Findings({"cameras": [try_cameras(count, scope, config, context)]})


def greatest(holds: Callable[[int], bool], most: int) -> int:
    """Greatest number from 0 to ``most`` that holds, if all below one that holds do; each is tried at most once."""
    low, high = 0, 1
    while high <= most and holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def try_cameras(count: int, scope: Scope, config: Config, context: Context) -> Cameras:
    """Watch so many cameras."""
    width, height = scope.size
    address = f"test://demo?width={width}&height={height}&frames=25&loop=1&live=1&fps={scope.pace:g}"
    seen = watch(address, count, scope.seconds, scope, config, context)
    dropped = sum(seen.dropped.values())
    if not seen.busy:
        raise Unmeasured("no stage has told how busy it is")
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
    """Run so many scenes of one kind, each with a seed of its own."""
    sources = [f"{address}&seed={seed}" for seed in range(count)]
    with TemporaryDirectory(dir=context.folder) as folder:
        return observe(config, sources, Path(folder) / "out", seconds, scope.warm_up_s)


def growth(
    axis: str, runs: list[tuple[str, int, Size, int]], scope: Scope, config: Config, context: Context
) -> Findings:
    """Follow one axis; each run is a label, a number of streams, a size and a number of targets."""
    rows: list[Growth] = []
    for label, streams, (width, height), targets in runs:
        address = f"test://demo?width={width}&height={height}&frames=25&loop=1&targets={targets}"
        seen = watch(address, streams, scope.growth_s, scope, config, context)
        cost = _cpu_ms(seen)
        first = rows[0].cpu_ms if rows else cost
        rows.append(Growth(axis=axis, value=label, frames_per_s=seen.rate, cpu_ms=cost, times_first=cost / first))
    return Findings({"growth": rows})


def _cpu_ms(seen: Observation) -> float:
    return sum(seen.cpu_ms_per_frame().values())


PART = Part(
    "streams",
    "Cameras that one machine holds without a drop, and the growth of cost along one axis at a time.",
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
