"""Part "pipeline": efficiency, latency and copies of the whole pipeline."""

from __future__ import annotations

from functools import partial

from msgspec import Struct

from tools.benchmark.bare import load
from tools.benchmark.copies import copies
from tools.benchmark.efficiency import efficiency
from tools.benchmark.job import Context, Job, Part
from tools.benchmark.latency import latency


class Scope(Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        sizes: width and height of the pictures.
        frames: length of each recording.
        repeats: repeats of each recording, through the pipeline and through the network alone.
        paced_s: measured time of the live scene in s.
        warm_up_s: warm-up time before it in s.
    """

    sizes: tuple[tuple[int, int], ...] = ((320, 256), (640, 512))
    frames: int = 250
    repeats: int = 3
    paced_s: float = 20.0
    warm_up_s: float = 3.0


def jobs(scope: Scope, context: Context) -> list[Job]:
    """Return jobs for efficiency and latency at every size, then one for the copies."""
    config, folder, found = load(context), context.folder, []
    for size in scope.sizes:
        label = f"{size[0]}x{size[1]}"
        found += [
            Job(f"efficiency {label}", partial(efficiency, size, scope.frames, scope.repeats, config, folder)),
            Job(f"latency {label}", partial(latency, size, scope.paced_s, scope.warm_up_s, config, folder)),
        ]
    return [*found, Job("copies", partial(copies, config, folder))]


PART = Part(
    "pipeline",
    "The whole pipeline against the network alone, the age of tracks at a steady frame rate, and where time is spent.",
    Scope(),
    Scope(sizes=((320, 256),), frames=40, repeats=2, paced_s=6.0, warm_up_s=2.0),
    jobs,
)
