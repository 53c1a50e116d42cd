"""The network on every backend there is, against the network as it was published.

The published one is MSHNet in PyTorch, eager, in fp32: three channels, every batch norm and all four heads computed,
contiguous memory, PyTorch's own defaults. It gets its input ready, normalised and on the device, and its output stays
there. The backends are what the pipeline runs: they take raw counts and give probabilities in the memory of the CPU,
so normalisation, sigmoid and the way to the device and back count against them. On a GPU, what they take from raw
counts to logits, both on the device, is told as well: there they are beside the published network on equal terms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import psutil
import torch
from msgspec import Struct
from msgspec.structs import replace

import nets
from pipeline.detect.backends import available, make_backend
from pipeline.detect.backends.choice import BACKENDS
from pipeline.detect.config import AUTO, DetectConfig
from pipeline.detect.defaults import GPU_WEIGHTS, apply_device_defaults
from pipeline.errors import PipelineError, one_line
from tools.benchmark import limits
from tools.benchmark.cost import Layer, layers, least_seconds
from tools.benchmark.job import Context, Findings, Job, Part, reason
from tools.benchmark.timing import interleave, summarise
from tools.benchmark.ways import CHANNELS, Size, backend_way, device_way, picture, published_way

PUBLISHED = "published"
SHIPPED = GPU_WEIGHTS
"""The weights of the published architecture that every device can run."""
ON_DEVICE = ", on the device"
GPU_LOAD = (8192, 2000)
"""Side of the matrices and 1e6 bytes that are copied: less does not fill a large GPU."""


class Scope(Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        sizes: width and height of the pictures.
        batches: pictures at once.
        budget_s: for the rounds of one size and batch, and for the limits of the machine.
        longest_s: what takes the published network longer than this is left out.
        matrix_side, copied_mb: see ``limits.measure``; of a CPU.
    """

    sizes: tuple[Size, ...] = ((256, 256), (320, 256), (640, 512), (1280, 1024))
    batches: tuple[int, ...] = (1, 4, 16, 64)
    budget_s: float = 8.0
    longest_s: float = 6.0
    matrix_side: int = 4096
    copied_mb: int = 256


class Forward(Struct, frozen=True, kw_only=True):
    """One backend at one size and batch.

    Attributes:
        size: width x height.
        backend: name and precision, after the name of the weights where these are not ``mshnet``, before the manifest's
            file where it was exported; on the device without the ways.
        ms: of a batch, median.
        spread: distance of the quartiles, as a share of the median.
        frames_per_s: pictures.
        times_published: so many times as fast as the published network beside it.
        limit_share: of the least time that arithmetic rate and memory bandwidth allow the published network, see
            ``cost.least_seconds``; none of another network.
        first_s: the first call, with whatever is compiled then.
    """

    size: str
    batch: int
    backend: str
    ms: float
    spread: float
    frames_per_s: float
    times_published: float
    limit_share: float | None
    first_s: float


def candidates(
    base: DetectConfig, artefacts: Sequence[str], only: Sequence[str] = ()
) -> Iterator[tuple[str, DetectConfig]]:
    """Every backend and precision that can run here, from the weights and from exported files, with its name.

    Of ``mshnet``, and of the default weights where these are others. Compiled torch is left out on a CPU, where every
    size takes minutes to compile.

    Args:
        base: what they share; its weights do not count.
        artefacts: manifests of exported networks.
        only: names with precisions, to leave out all others; none leaves out none.

    Raises:
        BackendError: device or artefact cannot be used.
    """
    for weights in dict.fromkeys((SHIPPED, apply_device_defaults(replace(base, weights=AUTO)).weights)):
        for config in available(replace(base, weights=weights)):
            if config.backend == "compiled" and _device() == "cpu":
                continue
            name = f"{config.backend} {config.precision}"
            if not only or name in only:
                yield name if weights == SHIPPED else f"{weights} {name}", config
    of_weights = replace(base, weights=SHIPPED)
    exported = [c for file in artefacts for c in available(replace(of_weights, artefact=file)) if c.artefact]
    for config in exported:
        yield f"{config.backend} {config.precision}, {Path(str(config.artefact)).name}", config


def left_out(base: DetectConfig, artefacts: Sequence[str]) -> Iterator[str]:
    """Backends that cannot run here, and why."""
    offered = {config.backend for _, config in candidates(base, artefacts)}
    for name in BACKENDS.keys() - offered:
        if name == "compiled":
            yield "compiled: left out on a CPU, where every size takes minutes to compile"
            continue
        try:
            make_backend(replace(base, weights=SHIPPED, backend=name))
        except PipelineError as error:
            yield f"{name}: {one_line(error)}"


def jobs(scope: Scope, context: Context) -> list[Job]:
    """The limits of the machine, then a job for each size and batch."""
    device = _device()
    base = replace(DetectConfig(), threads=context.threads)
    sizes = GPU_LOAD if device == "cuda" else (scope.matrix_side, scope.copied_mb)
    hardware = cache(partial(limits.measure, device, context.threads, *sizes, scope.budget_s))

    def machine() -> Findings:
        missing = [] if device == "cuda" else ["no GPU: nothing was measured on one"]
        return Findings({"hardware": [hardware()]}, [*missing, *left_out(base, context.artefacts)])

    def job(size: Size, batch: int) -> Job:
        return Job(
            f"network {size[0]}x{size[1]} batch {batch}",
            lambda: _compare(size, batch, base, context, scope, hardware()),
        )

    return [Job("hardware", machine), *(job(size, batch) for size in scope.sizes for batch in scope.batches)]


def _compare(
    size: Size, batch: int, base: DetectConfig, context: Context, scope: Scope, hardware: limits.Limits
) -> Findings:
    config = replace(base, batch_size=batch)
    label = f"{size[0]}x{size[1]}, batch {batch}"
    device = _device()
    work = layers(lambda: nets.build("mshnet", in_channels=CHANNELS), CHANNELS, size[1], size[0])
    if too_large := _too_large(work, batch, device, scope, hardware):
        return Findings({}, [f"{label}: {too_large}"])
    frame = picture(size)
    threads = config.threads or 1
    ways: dict[str, Callable[[], object]] = {PUBLISHED: published_way(SHIPPED, frame, batch, device, threads)}
    missing = []
    precisions: dict[str, str | None] = {PUBLISHED: "fp32"}
    for name, choice in candidates(config, context.artefacts, context.backends):
        precisions[name] = precisions[name + ON_DEVICE] = choice.precision if choice.weights == SHIPPED else None
        torch.set_num_threads(threads)
        try:
            backend = make_backend(choice)
            ways[name] = backend_way(backend, frame, batch)
            if device == "cuda":
                ways[name + ON_DEVICE] = device_way(backend, frame, batch, device)
        except Exception as error:  # of one way; the others are measured
            missing.append(f"{label}, {name}: {reason(error)}")
    first: dict[str, float] = {}
    for name, way in list(ways.items()):
        try:
            first[name] = _duration(way)
        except Exception as error:
            missing.append(f"{label}, {name}: {reason(error)}")
            del ways[name]
            continue
        # The first pass may have had libraries to load.
        if name == PUBLISHED and first[name] > scope.longest_s and (again := _duration(way)) > scope.longest_s:
            return Findings({}, [f"{label}: one pass takes {again:.0f} s"])
    seconds = interleave(ways, scope.budget_s)
    reference = summarise(seconds[PUBLISHED]).median if PUBLISHED in seconds else float("nan")
    rows = []
    for name, values in seconds.items():
        median, spread = summarise(values)
        rows.append(
            Forward(
                size=f"{size[0]}x{size[1]}",
                batch=batch,
                backend=name,
                ms=1000 * median,
                spread=spread,
                frames_per_s=batch / median,
                times_published=reference / median,
                limit_share=_share(work, batch, precisions[name], median, hardware),
                first_s=first[name],
            )
        )
    return Findings({"forward": rows}, missing)


def _duration(way: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def _too_large(work: list[Layer], batch: int, device: str, scope: Scope, hardware: limits.Limits) -> str:
    """Why not to try: the published network would take too long, or all of the memory."""
    at_least = least_seconds(work, batch, hardware.fp32_gflops * 1e9, hardware.copy_gb_per_s * 1e9, 4)
    if at_least > scope.longest_s:
        return f"one pass would take {at_least:.0f} s or more"
    largest = 2 * max(layer.activations for layer in work) * 4 * batch
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available
    return f"one layer needs {largest / 1e9:.0f} GB" if largest > free else ""


def _share(
    work: list[Layer], batch: int, precision: str | None, seconds: float, hardware: limits.Limits
) -> float | None:
    rate = hardware.flops_per_s(precision) if precision else None
    if rate is None or precision is None:
        return None
    return least_seconds(work, batch, rate, hardware.copy_gb_per_s * 1e9, limits.ITEMSIZE[precision]) / seconds


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


PART = Part(
    "network",
    "One pass of the network on every backend, in turns, against MSHNet as published (PyTorch, eager, fp32).",
    Scope(),
    Scope(
        sizes=((256, 256), (320, 256), (640, 512)),
        batches=(1, 4),
        budget_s=3.0,
        longest_s=1.5,
        matrix_side=1024,
        copied_mb=128,
    ),
    jobs,
)
