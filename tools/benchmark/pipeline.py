"""The part about the whole pipeline."""

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
        frames: of each recording.
        repeats: of each recording, through the pipeline and through the network alone.
        paced_s: of the live scene.
        warm_up_s: before it.
    """

    sizes: tuple[tuple[int, int], ...] = ((320, 256), (640, 512))
    frames: int = 250
    repeats: int = 3
    paced_s: float = 20.0
    warm_up_s: float = 3.0


def jobs(scope: Scope, context: Context) -> list[Job]:
    """Efficiency and latency at every size, then the copies."""
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
    "The whole pipeline against the network alone, the age of tracks at a steady pace, and where time goes.",
    Scope(),
    Scope(sizes=((320, 256),), frames=40, repeats=2, paced_s=6.0, warm_up_s=2.0),
    jobs,
)
