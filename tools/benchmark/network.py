"""Part "network": speed of the network on every available backend, compared with the network as published.

The published network is MSHNet in PyTorch, eager, in fp32: three channels, every batch norm and all four heads
computed, contiguous memory, PyTorch's own defaults. Its input is already normalised and on the device, and its output
stays there. The backends are those of the pipeline: they take raw counts and return probabilities in CPU memory, so
their times include normalisation, sigmoid and the transfers to the device and back. On a GPU, their time from raw
counts to logits, both on the device, is reported as well; that one compares with the published network on equal terms.
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
PUBLISHED_WEIGHTS = "mshnet-irstd1k"
"""Weights of the architecture exactly as published, with three input channels."""
SHIPPED = GPU_WEIGHTS
"""Weights of the published architecture with a fourth input channel for changes, which every device can run."""
ON_DEVICE = ", on the device"
GPU_LOAD = (8192, 2000)
"""Matrix side and copied 1e6 bytes for ``limits.measure``; less does not saturate a large GPU."""


class Scope(Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        sizes: width and height of the pictures.
        batches: batch sizes.
        budget_s: time in s for the rounds of one size and batch, and for the limits of the machine.
        longest_s: sizes and batches for which the published network takes longer than this are skipped.
        matrix_side, copied_mb: arguments of ``limits.measure`` on a CPU.
    """

    sizes: tuple[Size, ...] = ((256, 256), (320, 256), (640, 512), (1280, 1024))
    batches: tuple[int, ...] = (1, 4, 16, 64)
    budget_s: float = 8.0
    longest_s: float = 6.0
    matrix_side: int = 4096
    copied_mb: int = 256


class Forward(Struct, frozen=True, kw_only=True):
    """Speed of one backend at one size and batch.

    Attributes:
        size: width x height.
        backend: name and precision, preceded by the name of the weights if these are not ``mshnet``, and followed by
            the manifest file of an exported network. The suffix "on the device" means without transfers.
        ms: median time of a batch.
        spread: interquartile range relative to the median.
        frames_per_s: pictures per second.
        times_published: speed relative to the published network measured beside it.
        limit_share: least time that arithmetic rate and memory bandwidth allow (``cost.least_seconds``), relative to
            the measured time; None for other networks than the published one.
        first_s: time of the first call, including any compilation.
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
    """Yield name and configuration of every backend and precision that can run here, from weights and exported files.

    Covers ``mshnet``, and the default weights if they are different. Compiled torch is skipped on a CPU, where every
    size takes minutes to compile.

    Args:
        base: configuration that they share; its weights are ignored.
        artefacts: manifests of exported networks.
        only: backends with precision that weights are run on; empty for all. Exported files are not affected.

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


def left_out(base: DetectConfig, artefacts: Sequence[str], only: Sequence[str] = ()) -> Iterator[str]:
    """Yield a line with the reason for every backend that cannot run here, and for precisions in ``only`` it lacks."""
    offered = {(config.backend, config.precision) for _, config in candidates(base, artefacts)}
    backends = {backend for backend, _ in offered}
    for name in BACKENDS.keys() - backends:
        if name == "compiled":
            yield "compiled: left out on a CPU, where every size takes minutes to compile"
            continue
        try:
            make_backend(replace(base, weights=SHIPPED, backend=name))
        except PipelineError as error:
            yield f"{name}: {one_line(error)}"
    for wanted in only:
        backend, _, precision = wanted.partition(" ")
        if backend in backends and (backend, precision) not in offered:
            has = sorted(str(p) for b, p in offered if b == backend)
            yield f"{wanted}: {backend} runs {' and '.join(has)} here"


def jobs(scope: Scope, context: Context) -> list[Job]:
    """Return a job for the limits of the machine, then one for each size and batch."""
    device = _device()
    base = replace(DetectConfig(), threads=context.threads)
    sizes = GPU_LOAD if device == "cuda" else (scope.matrix_side, scope.copied_mb)
    hardware = cache(partial(limits.measure, device, context.threads, *sizes, scope.budget_s))

    def machine() -> Findings:
        missing = [] if device == "cuda" else ["no GPU: nothing was measured on one"]
        return Findings({"hardware": [hardware()]}, [*missing, *left_out(base, context.artefacts, context.backends)])

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
    ways: dict[str, Callable[[], object]] = {PUBLISHED: published_way(PUBLISHED_WEIGHTS, frame, batch, device, threads)}
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
        except Exception as error:  # skip this variant; the others are still measured
            missing.append(f"{label}, {name}: {reason(error)}")
    first: dict[str, float] = {}
    for name, way in list(ways.items()):
        try:
            first[name] = _duration(way)
        except Exception as error:
            missing.append(f"{label}, {name}: {reason(error)}")
            del ways[name]
            continue
        # The first pass may include loading of libraries.
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
    """Measure the time of one call in s."""
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def _too_large(work: list[Layer], batch: int, device: str, scope: Scope, hardware: limits.Limits) -> str:
    """Return why the published network cannot be run: too much time or memory; empty if it can."""
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
