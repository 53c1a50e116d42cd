"""Part "transport": passing pictures between threads or processes with our queue, a memory copy and alternatives."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import numpy as np
from msgspec import Struct

from tools.benchmark.carriers import Carry, carriers
from tools.benchmark.job import Context, Findings, Job, Part, Unmeasured
from tools.benchmark.timing import interleave, summarise


class Scope(Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        sizes: width and height of the pictures.
        types: data types of the pixels.
        times: number of pictures in a row.
        budget_s: time in s for one size and type.
    """

    sizes: tuple[tuple[int, int], ...] = ((320, 256), (640, 512), (1280, 1024))
    types: tuple[str, ...] = ("uint8", "uint16")
    times: int = 50
    budget_s: float = 5.0


class Transport(Struct, frozen=True, kw_only=True):
    """Speed of one transport with pictures of one size and type.

    Attributes:
        picture: width x height and data type of the pixels.
        way: name of the transport.
        us: median time per picture for many in a row, until the last one has arrived.
        spread: interquartile range relative to the median.
        gb_per_s: 1e9 bytes of pictures per second.
        times_memcpy: time relative to one memory copy.
        alone_us: median round-trip time of a single picture and its acknowledgement.
    """

    picture: str
    way: str
    us: float
    spread: float
    gb_per_s: float
    times_memcpy: float
    alone_us: float


def jobs(scope: Scope, context: Context) -> list[Job]:
    """Return a single job, because the receiving ends are started once for all sizes."""
    return [Job("transport", lambda: compare(scope, context))]


def compare(scope: Scope, context: Context) -> Findings:
    """Measure all transports in turns, at every size and type."""
    rows: list[Transport] = []
    missing: list[str] = []
    with ExitStack() as opened:
        ways: dict[str, Carry] = {}
        for name, open_ in carriers(context.folder).items():
            try:
                ways[name] = opened.enter_context(open_())
            except Unmeasured as error:
                missing.append(str(error))
        for width, height in scope.sizes:
            for type_ in scope.types:
                rows += _at(width, height, type_, ways, scope)
    return Findings({"transport": rows}, missing)


def _at(width: int, height: int, type_: str, ways: dict[str, Carry], scope: Scope) -> list[Transport]:
    picture = np.random.default_rng(0).integers(0, 200, (height, width), type_)
    rows = interleave({name: partial(way, picture, scope.times) for name, way in ways.items()}, scope.budget_s)
    alone = interleave({name: partial(way, picture, 1) for name, way in ways.items()}, scope.budget_s / 5, least=10)
    copy_s = summarise(rows["memcpy"]).median
    found = []
    for name, seconds in rows.items():
        median, spread = summarise(seconds)
        found.append(
            Transport(
                picture=f"{width}x{height} {type_}",
                way=name,
                us=1e6 * median / scope.times,
                spread=spread,
                gb_per_s=picture.nbytes * scope.times / median / 1e9,
                times_memcpy=median / copy_s,
                alone_us=1e6 * summarise(alone[name]).median,
            )
        )
    return found


PART = Part(
    "transport",
    "Pictures to another thread (inproc) or process: our queue with two credits, one memory copy, and alternatives.",
    Scope(),
    Scope(types=("uint16",), times=20, budget_s=2.0),
    jobs,
)
