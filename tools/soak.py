"""Soak test: check a long run for growing memory, descriptors, threads, sockets or latency.

    python -m tools.soak --minutes N [--load 0.5] [--source SRC ...] [--placement thread|process] [--set KEY=VALUE ...]
                         [--samples FILE] [--json FILE]

The default source is an endless rendered scene, played as a live camera at ``--load`` times the rate that this machine
can sustain; that rate is measured first. ``--source`` takes files or live sources instead. The first fifth of the run
is warm-up and does not count.

Memory is the unique set size. Its slope is the Theil-Sen estimate with a 95 % confidence interval. The test fails

- if the memory slope of a process exceeds the bound and its confidence interval excludes zero,
- if the median number of descriptors, threads or sockets rises from the first to the last third of the run,
- if the 99th percentile of the age of results of a live source rises by more than the allowed factor,
- if not every frame is accounted for, a frame is lost, or a stage was restarted.

Exit code: 0 if nothing grows; 1 if something grows or the run failed; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import msgspec
import psutil
from msgspec import Struct
from tqdm import tqdm

from pipeline import output_file
from pipeline.accounting import total
from pipeline.argument_parser import add_settings
from pipeline.arguments import positive
from pipeline.capture.factory import is_live
from pipeline.errors import ConfigError, PipelineError, one_line
from tools.process_tree import MAIN, Held, held
from tools.trend import Slope, percentile, slope, thirds
from tools.watched_run import RunFailed, WatchedRun, exit_on_sigterm, sustainable_rate

SCENE = "test://demo?width=160&height=128"
FRAMES = 200
WARM_UP = 0.2  # share of the run that is not evaluated
MIN_SAMPLES, MAX_SAMPLES = 3, 900
PLACES = ("capture", "preprocess", "detect", "track", "sinks")
COUNTS = ("fds", "threads", "sockets")

Samples = Mapping[str, Sequence[tuple[float, Held]]]
"""By process name: (seconds since the start, resources held)."""


class Bounds(Struct, frozen=True, kw_only=True):
    """Limits of what does not yet count as growth.

    Attributes:
        memory_mb_h: largest accepted memory slope of a process, MB per hour.
        latency_factor: largest accepted ratio of the 99th percentiles of ages, last to first third.
    """

    memory_mb_h: float = 10.0
    latency_factor: float = 1.5


class ProcessTrend(Struct, frozen=True, kw_only=True):
    """Trend of one process over the run.

    Attributes:
        memory_mb: medians of the first and the last third.
        slope_mb_h: memory slope in MB per hour with its confidence interval.
        fds, threads, sockets: medians of the first and the last third.
        grows: names of the quantities that grow.
    """

    memory_mb: tuple[float, float]
    slope_mb_h: Slope
    fds: tuple[float, float]
    threads: tuple[float, float]
    sockets: tuple[float, float]
    grows: list[str]


class SourceTrend(Struct, frozen=True, kw_only=True):
    """Trend of one source over the run.

    Attributes:
        captured, delivered, dropped: numbers of frames.
        age_p99_ms: 99th percentile of ages in the first and the last third; None for files.
        wrong: descriptions of what is wrong.
    """

    captured: int
    delivered: int
    dropped: int
    age_p99_ms: tuple[float, float] | None
    wrong: list[str]


class Soak(Struct, kw_only=True):
    """Result of a soak test."""

    hours: float
    sources: dict[str, SourceTrend]
    processes: dict[str, ProcessTrend]
    restarts: dict[str, list[str]]
    drained: bool

    @property
    def passed(self) -> bool:
        """Whether nothing grows and nothing went wrong."""
        grows = any(trend.grows for trend in self.processes.values())
        wrong = any(trend.wrong for trend in self.sources.values())
        return self.drained and not (grows or wrong or self.restarts)


def trend(samples: Sequence[tuple[float, Held]], bounds: Bounds) -> ProcessTrend:
    """Evaluate the samples of a process.

    Raises:
        ValueError: fewer than three samples.
    """
    memory = slope([s for s, _ in samples], [one.memory_mb for _, one in samples])
    ends = {name: _medians([getattr(one, name) for _, one in samples]) for name in Held._fields}
    grows = [name for name in COUNTS if ends[name][1] > ends[name][0]]
    if memory.per_hour > bounds.memory_mb_h and memory.low > 0:
        grows.append("memory")
    return ProcessTrend(slope_mb_h=memory, grows=grows, **ends)


def source_trend(account: Mapping[str, Any], ages_s: Sequence[float], bounds: Bounds) -> SourceTrend:
    """Evaluate the account and the result ages of a source.

    Args:
        account: account of the source in ``run.json``.
        ages_s: ages of its results in s, in order; empty for files.
        bounds: what counts as growth.
    """
    first, last = (1000 * percentile(third, 99) for third in thirds(ages_s))
    lost = total(account["lost"])
    wrong = [
        word
        for word, is_so in {
            "account does not close": not account["closes"] or account["in_flight"],
            f"{lost} frames lost": lost,
            "latency grows": last > bounds.latency_factor * first,
        }.items()
        if is_so
    ]
    return SourceTrend(
        captured=account["captured"],
        delivered=account["delivered"],
        dropped=total(account["dropped"]),
        age_p99_ms=(first, last) if ages_s else None,
        wrong=wrong,
    )


def soak(
    sources: Sequence[str], settings: Sequence[str], seconds: float, bounds: Bounds, samples_file: TextIO | None = None
) -> Soak:
    """Run the pipeline, sample its processes and evaluate the trends.

    Args:
        sources: addresses of the sources.
        settings: settings of the run.
        seconds: duration after every source has produced a result; shorter if the sources end.
        bounds: what counts as growth.
        samples_file: receives every sample as a line of JSON.

    Raises:
        RunFailed: the run failed, or was too short for three samples.
    """
    samples: dict[str, list[tuple[float, Held]]] = {}
    pause_s = max(0.2, seconds / MAX_SAMPLES)
    with WatchedRun(sources, settings) as run, tqdm(total=round(seconds), unit=" s", disable=None) as progress:
        root = psutil.Process(run.pid)
        run.watch(run.started)
        start, over = time.monotonic(), run.lasted(seconds)
        while run.is_running and not over():
            now = time.monotonic() - start
            for name, one in held(root).items():
                samples.setdefault(name, []).append((now, one))
                if samples_file is not None:
                    samples_file.write(_json({"seconds": round(now, 3), "process": name, **one._asdict()}) + "\n")
            progress.update(round(now) - progress.n)
            run.watch(run.lasted(pause_s))
        lasted = time.monotonic() - start
        record = run.stop()
    settled = {name: [one for one in series if one[0] >= WARM_UP * lasted] for name, series in samples.items()}
    if len(settled.get(MAIN, ())) < MIN_SAMPLES:
        raise RunFailed(f"{lasted:.1f} s are too short for a slope")
    live = dict(zip(record["sources"], map(is_live, sources), strict=True))
    return Soak(
        hours=lasted / 3600,
        sources={
            id_: source_trend(
                source["account"],
                [age for _, age in run.ages(id_, WARM_UP * lasted)] if live[id_] else [],
                bounds,
            )
            for id_, source in record["sources"].items()
        },
        processes={name: trend(series, bounds) for name, series in settled.items() if len(series) >= MIN_SAMPLES},
        restarts=record["restarts"],
        drained=record["drained"],
    )


def report(result: Soak) -> str:
    """Format the result as Markdown tables with a verdict."""
    lines = [
        "| process | memory MB, first and last third | slope MB/h (95 %) | descriptors | threads | sockets | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, one in result.processes.items():
        memory = f"{one.memory_mb[0]:.1f}, {one.memory_mb[1]:.1f}"
        grown = f"{one.slope_mb_h.per_hour:+.1f} ({one.slope_mb_h.low:+.1f} to {one.slope_mb_h.high:+.1f})"
        counts = " | ".join(f"{first:g}, {last:g}" for first, last in (one.fds, one.threads, one.sockets))
        verdict = ", ".join(one.grows) + " grows" if one.grows else "steady"
        lines.append(f"| {name} | {memory} | {grown} | {counts} | {verdict} |")
    lines += [
        "",
        "| source | captured | delivered | dropped | age p99 ms, first and last third | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, source in result.sources.items():
        ages = "-" if source.age_p99_ms is None else f"{source.age_p99_ms[0]:.0f}, {source.age_p99_ms[1]:.0f}"
        counts = f"{source.captured} | {source.delivered} | {source.dropped}"
        lines.append(f"| {name} | {counts} | {ages} | {', '.join(source.wrong) or 'sound'} |")
    restarts = "".join(f"; {name} died: {', '.join(causes)}" for name, causes in result.restarts.items())
    undrained = "" if result.drained else "; did not drain"
    verdict = "passed" if result.passed else "FAILED"
    return "\n".join([*lines, "", f"{result.hours:.3f} hours{restarts}{undrained}: {verdict}"])


def _medians(values: Sequence[float]) -> tuple[float, float]:
    first, last = (percentile(third, 50) for third in thirds(values))
    return first, last


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=positive, required=True, help="duration of the run")
    parser.add_argument(
        "--load",
        type=positive,
        default=0.5,
        help="rate of the built-in scene relative to the sustainable rate (default: %(default)s)",
    )
    parser.add_argument(
        "--source", nargs="+", default=[], metavar="SRC", help="sources to run instead of the built-in scene"
    )
    parser.add_argument("--placement", choices=("thread", "process"), help="placement of every stage")
    add_settings(parser)
    parser.add_argument(
        "--memory-bound",
        type=float,
        default=Bounds().memory_mb_h,
        metavar="MB/H",
        help="largest accepted memory slope of a process (default: %(default)s)",
    )
    parser.add_argument(
        "--latency-factor",
        type=float,
        default=Bounds().latency_factor,
        metavar="X",
        help="largest accepted growth of p99 latency (default: %(default)s)",
    )
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="write every sample to this file, one JSON object per line"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this JSON file")
    args = parser.parse_args(argv)
    settings = [f"placement.{place}={args.placement}" for place in PLACES if args.placement] + args.settings
    bounds = Bounds(memory_mb_h=args.memory_bound, latency_factor=args.latency_factor)
    try:
        for option, path in (("--samples", args.samples), ("--json", args.json)):
            if path is not None:
                output_file.check(option, path)
        sources = args.source or [_camera(args.load, settings)]
        # Line by line, so that a full disk is noticed at once, not when the run has ended.
        with _writing(args.samples), (args.samples or Path(os.devnull)).open("w", buffering=1) as samples:
            result = soak(sources, settings, 60 * args.minutes, bounds, samples)
        sys.stdout.write(f"{report(result)}\n")
        with _writing(args.json):
            if args.json is not None:
                args.json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
    except PipelineError as error:
        sys.stderr.write(f"soak: error: {one_line(error)}\n")
        return 2 if isinstance(error, ConfigError) else 1
    return 0 if result.passed else 1


@contextmanager
def _writing(path: Path | None) -> Iterator[None]:
    """Name the file in errors; those of a full disk do not."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: {error.strerror}") from None


def _camera(load: float, settings: Sequence[str]) -> str:
    rate, _ = sustainable_rate(f"{SCENE}&frames={FRAMES}", ["placement.capture=process", *settings])
    return f"{SCENE}&frames={10 * FRAMES}&live=1&loop=1&fps={min(1000.0, max(1.0, load * rate)):.3f}"


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
