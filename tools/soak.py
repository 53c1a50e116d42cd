"""Does a long run grow? Memory, descriptors, threads, sockets and latency of every process of a run.

    python -m tools.soak --minutes N [--load 0.5] [--source SRC ...] [--placement thread|process] [--set KEY=VALUE ...]
                         [--samples FILE] [--json FILE]

The source is a rendered scene without end, played as a live camera at ``--load`` times the rate at which this machine
can process it, which is measured first; or those given, files or live. The first fifth of the run does not count.

Memory is the unique set size; its slope the Theil-Sen estimate with a 95 % interval. The run fails where the slope is
above the bound and its interval says that it is no chance, where the median of descriptors, threads or sockets rises
from the first to the last third, where the 99th percentile of the age of results does by more than the factor allows
(live sources), where an account does not close, a frame is lost or a stage had to be started again.

Exit code: 0 nothing grows; 1 something does, or the run failed; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec
import psutil
from msgspec import Struct
from tqdm import tqdm

from pipeline.account import total
from pipeline.arguments import positive
from pipeline.capture.factory import is_live
from pipeline.errors import ConfigError, PipelineError, one_line
from tools.process_tree import MAIN, Held, held
from tools.trend import Slope, percentile, slope, thirds
from tools.watched_run import RunFailed, WatchedRun, exit_on_sigterm, sustainable_rate

SCENE = "test://demo?width=160&height=128"
FRAMES = 200
WARM_UP = 0.2
MIN_SAMPLES, MAX_SAMPLES = 3, 900
PLACES = ("capture", "preprocess", "detect", "track", "sinks")
COUNTS = ("fds", "threads", "sockets")

Samples = Mapping[str, Sequence[tuple[float, Held]]]
"""By name of the process: seconds since the start, and what it held."""


class Bounds(Struct, frozen=True, kw_only=True):
    """What counts as growth.

    Attributes:
        memory_mb_h: MB per hour that the slope of a process may have.
        latency_factor: by which the 99th percentile of ages may rise.
    """

    memory_mb_h: float = 10.0
    latency_factor: float = 1.5


class ProcessTrend(Struct, frozen=True, kw_only=True):
    """One process over the run.

    Attributes:
        memory_mb: medians of the first and the last third.
        slope_mb_h: with the ends of its interval.
        fds, threads, sockets: medians of the first and the last third.
        grows: what grows.
    """

    memory_mb: tuple[float, float]
    slope_mb_h: Slope
    fds: tuple[float, float]
    threads: tuple[float, float]
    sockets: tuple[float, float]
    grows: list[str]


class SourceTrend(Struct, frozen=True, kw_only=True):
    """One source over the run.

    Attributes:
        captured, delivered, dropped: frames.
        age_p99_ms: of the first and the last third; none for files.
        wrong: what is wrong.
    """

    captured: int
    delivered: int
    dropped: int
    age_p99_ms: tuple[float, float] | None
    wrong: list[str]


class Soak(Struct, kw_only=True):
    """A whole run."""

    hours: float
    sources: dict[str, SourceTrend]
    processes: dict[str, ProcessTrend]
    restarts: dict[str, list[str]]
    drained: bool

    @property
    def passed(self) -> bool:
        """Nothing grows and nothing went wrong."""
        grows = any(trend.grows for trend in self.processes.values())
        wrong = any(trend.wrong for trend in self.sources.values())
        return self.drained and not (grows or wrong or self.restarts)


def trend(samples: Sequence[tuple[float, Held]], bounds: Bounds) -> ProcessTrend:
    """What became of a process.

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
    """What became of a source.

    Args:
        account: of ``run.json``.
        ages_s: of its results, in their order; empty for files.
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
    """Run, sample and judge.

    Args:
        sources: addresses.
        settings: of the run.
        seconds: from the first result of every source on; less if the sources end.
        bounds: what counts as growth.
        samples_file: gets every sample as a line of JSON.

    Raises:
        RunFailed: the run went wrong, or was too short for three samples.
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
    """The tables, as Markdown, and the verdict."""
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
    """Run the tool."""
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=positive, required=True)
    parser.add_argument("--load", type=positive, default=0.5, help="of the built-in scene")
    parser.add_argument("--source", nargs="+", default=[], metavar="SRC", help="instead of the built-in scene")
    parser.add_argument("--placement", choices=("thread", "process"), help="of every stage")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument(
        "--memory-bound", type=float, default=Bounds().memory_mb_h, metavar="MB/H", help="(%(default)s)"
    )
    parser.add_argument(
        "--latency-factor", type=float, default=Bounds().latency_factor, metavar="X", help="(%(default)s)"
    )
    parser.add_argument("--samples", type=Path, metavar="FILE", help="every sample, as lines of JSON")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures")
    args = parser.parse_args(argv)
    settings = [f"placement.{place}={args.placement}" for place in PLACES if args.placement] + args.settings
    bounds = Bounds(memory_mb_h=args.memory_bound, latency_factor=args.latency_factor)
    try:
        sources = args.source or [_camera(args.load, settings)]
        try:
            with args.samples.open("w") if args.samples is not None else Path("/dev/null").open("w") as samples:
                result = soak(sources, settings, 60 * args.minutes, bounds, samples)
            sys.stdout.write(f"{report(result)}\n")
            if args.json is not None:
                args.json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from None
    except PipelineError as error:
        sys.stderr.write(f"soak: error: {one_line(error)}\n")
        return 2 if isinstance(error, ConfigError) else 1
    return 0 if result.passed else 1


def _camera(load: float, settings: Sequence[str]) -> str:
    rate, _ = sustainable_rate(f"{SCENE}&frames={FRAMES}", ["placement.capture=process", *settings])
    return f"{SCENE}&frames={10 * FRAMES}&live=1&loop=1&fps={min(1000.0, max(1.0, load * rate)):.3f}"


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
