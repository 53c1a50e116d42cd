"""Measure what happens when frames arrive faster than they can be processed.

    python -m tools.overload [--scene test://...] [--loads 0.5 1 2 4] [--policy bounded latest lossless]
                             [--seconds 20] [--set KEY=VALUE ...] [--json FILE]

The first run measures the sustainable rate: the scene is processed as a file under the lossless policy, so it is read
no faster than it is processed. The second run plays the scene as a live camera at a quarter of that rate, which gives
the processing time of a frame without queueing. Then each live policy is run at each load, a multiple of the
sustainable rate. The lossless policy is for files and covered by the first run.

Ages are measured from capture to the written line. The limit is the longest time that the policy lets a frame wait
before processing (bounded: its staleness budget; latest: until the previous frame is done, 1 / rate) plus one
processing time. The 99th percentile of ages in the first and in the last third of the run should not exceed it. Frames
dropped before the first result, while the network is being loaded, are left out of the drop shares.

Exit code: 0 if all is well; 1 if an account does not close, a frame is lost, the lossless run drops a frame or a run
fails; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct
from tqdm import tqdm

from pipeline import config as configuration
from pipeline import output_file
from pipeline.accounting import total
from pipeline.argument_parser import add_settings
from pipeline.arguments import count, positive
from pipeline.errors import ConfigError, PipelineError, one_line
from tools.trend import percentile, thirds
from tools.watched_run import RunFailed, WatchedRun, exit_on_sigterm, sustainable_rate

SCENE = "test://demo?width=160&height=128"
POLICIES = ("bounded", "latest", "lossless")
QUIET_LOAD = 0.25  # low enough that frames do not queue
WARM_UP_S = 2.0  # not measured, from the first result on
LOOP = 1000
"""Number of frames after which a live scene repeats."""

Policy = Literal["bounded", "latest", "lossless"]


class Row(Struct, kw_only=True):
    """Result of one run.

    Attributes:
        load: offered rate relative to the sustainable rate; None for a file.
        offered_fps, captured_fps, delivered_fps: requested from the camera, received from it, and written.
        dropped: dropped share of the frames captured after the first result.
        causes: frames dropped in the whole run, by cause.
        age_ms: p50, p95, p99 and maximum age of results.
        age_first_ms, age_last_ms: p99 of ages in the first and the last third.
        limit_ms: limit of ages, see the module; None for the quiet run and for files.
        closes: every frame is accounted for, none was lost, and the run drained.
    """

    policy: Policy
    load: float | None
    offered_fps: float | None = None
    captured_fps: float
    delivered_fps: float
    captured: int
    delivered: int
    dropped: float
    causes: dict[str, int]
    age_ms: tuple[float, float, float, float] | None = None
    age_first_ms: float | None = None
    age_last_ms: float | None = None
    limit_ms: float | None = None
    closes: bool

    @property
    def keeps_limit(self) -> bool | None:
        """Whether the ages of both thirds are within the limit; None without a limit."""
        if self.limit_ms is None or self.age_first_ms is None or self.age_last_ms is None:
            return None
        return max(self.age_first_ms, self.age_last_ms) <= self.limit_ms

    @property
    def sound(self) -> bool:
        """Whether nothing happened that must not happen at any load."""
        return self.closes and (self.policy != "lossless" or self.captured == self.delivered)


def from_file(scene: str, frames: int, settings: Sequence[str]) -> Row:
    """Run a scene as a file under the lossless policy."""
    capture = "placement.capture=process"  # as for live sources, so that rates are comparable
    rate, record = sustainable_rate(f"{_with(scene, frames=frames)}", [capture, *settings])
    (account,) = _accounts(record)
    return Row(
        policy="lossless",
        load=None,
        captured_fps=rate,
        delivered_fps=rate,
        captured=account["captured"],
        delivered=account["delivered"],
        dropped=0.0,
        causes=account["dropped"],
        closes=_closes(record),
    )


def live(
    scene: str,
    policy: Policy,
    load: float,
    rate: float,
    seconds: float,
    settings: Sequence[str],
    wait_s: float = 0.0,
    processing_s: float | None = None,
) -> Row:
    """Run the scene as a live camera.

    Args:
        scene: address of the scene without rate and length.
        policy: drop policy of the queue behind the camera.
        load: rate of the camera relative to ``rate``.
        rate: sustainable rate, frames per second.
        seconds: measured time, after a warm-up of ``WARM_UP_S`` from the first result on.
        settings: settings of the run.
        wait_s: part of the limit for waiting before processing, s.
        processing_s: part of the limit for processing, s; None for no limit.

    Raises:
        RunFailed: the run failed, or gave no results.
    """
    fps = min(1000.0, max(1.0, load * rate))
    address = _with(scene, frames=LOOP, live=1, loop=1, fps=f"{fps:.3f}")
    with WatchedRun([address], settings, policy) as run:
        run.watch(run.started)
        run.watch(run.lasted(WARM_UP_S + seconds))
        record = run.stop()
    (source,) = record["sources"]
    (account,) = _accounts(record)
    ages = [1000 * age for _, age in run.ages(source, WARM_UP_S)]
    if not ages:
        raise RunFailed(f"{address}: no results")
    results = run.results[source]
    first, last = thirds(ages)
    lasted = max(results[-1].arrival_s - results[0].arrival_s, 1e-9)
    early = results[0].frame
    return Row(
        policy=policy,
        load=load,
        offered_fps=fps,
        captured_fps=(results[-1].frame - early) / lasted,
        delivered_fps=(len(results) - 1) / lasted,
        captured=account["captured"],
        delivered=account["delivered"],
        dropped=max(0, total(account["dropped"]) - early) / max(1, account["captured"] - early),
        causes=account["dropped"],
        age_ms=(*(percentile(ages, p) for p in (50, 95, 99)), max(ages)),  # type: ignore[arg-type]
        age_first_ms=percentile(first, 99),
        age_last_ms=percentile(last, 99),
        limit_ms=None if processing_s is None else 1000 * (wait_s + processing_s),
        closes=_closes(record),
    )


def table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table."""
    lines = [
        "| policy | load | came /s | delivered /s | dropped | by cause | age p50 | p95 | p99 | max ms "
        "| p99 first, last third | limit | kept | account |",
        "|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in rows:
        ages = [f"{age:.0f}" for age in row.age_ms] if row.age_ms else ["-"] * 4
        thirds_ = "-" if row.age_first_ms is None else f"{row.age_first_ms:.0f}, {row.age_last_ms:.0f}"
        cells = [
            row.policy,
            "file" if row.load is None else f"{row.load:g}",
            f"{row.captured_fps:.1f}",
            f"{row.delivered_fps:.1f}",
            f"{100 * row.dropped:.0f} %",
            ", ".join(f"{count} {cause}" for cause, count in row.causes.items()) or "-",
            *ages,
            thirds_,
            "-" if row.limit_ms is None else f"{row.limit_ms:.0f}",
            {None: "-", True: "yes", False: "no"}[row.keeps_limit],
            "closes" if row.closes else "OPEN",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(
    scene: str, policies: Sequence[Policy], loads: Sequence[float], seconds: float, frames: int, settings: Sequence[str]
) -> list[Row]:
    """Do all runs; the first is the one of the file, the second the quiet one.

    Raises:
        PipelineError: a setting is wrong, or a run failed.
    """
    staleness_s = configuration.load(None, settings).queue.staleness_s
    plan = [(policy, load) for policy in policies if policy != "lossless" for load in loads]
    with tqdm(total=2 + len(plan), unit=" runs", disable=None) as progress:
        rows = [from_file(scene, frames, settings)]
        rate = rows[0].delivered_fps
        progress.update()
        rows.append(live(scene, "bounded", QUIET_LOAD, rate, seconds, settings))
        assert rows[1].age_ms is not None
        processing_s = rows[1].age_ms[2] / 1000
        progress.update()
        for policy, load in plan:
            wait_s = staleness_s if policy == "bounded" else 1 / rate
            rows.append(live(scene, policy, load, rate, seconds, settings, wait_s, processing_s))
            progress.update()
    return rows


def _with(scene: str, **parameters: object) -> str:
    mark = "&" if "?" in scene else "?"
    return f"{scene}{mark}{'&'.join(f'{key}={value}' for key, value in parameters.items())}"


def _accounts(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [source["account"] for source in record["sources"].values()]


def _closes(record: dict[str, Any]) -> bool:
    accounts = _accounts(record)
    return record["drained"] and all(a["closes"] and not total(a["lost"]) and not a["in_flight"] for a in accounts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(prog="overload", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--scene", default=SCENE, help="test:// address without fps, frames, live and loop (default: %(default)s)"
    )
    parser.add_argument(
        "--loads",
        type=positive,
        nargs="+",
        default=[0.5, 1, 2, 4],
        metavar="X",
        help="rates of the camera relative to the sustainable rate (default: 0.5 1 2 4)",
    )
    parser.add_argument(
        "--policy", nargs="+", choices=POLICIES, default=list(POLICIES), help="drop policies to test (default: all)"
    )
    parser.add_argument(
        "--seconds",
        type=positive,
        default=20.0,
        help="duration of each live run, from its first result on (default: %(default)s)",
    )
    parser.add_argument(
        "--frames", type=count, default=200, help="length of the scene in the file run (default: %(default)s)"
    )
    add_settings(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    args = parser.parse_args(argv)
    if args.frames < 2:
        parser.error("--frames: at least two are needed")
    settings = ["sinks.overlay=false", *args.settings]
    try:
        if args.json is not None:
            output_file.check("--json", args.json)
        rows = measure(args.scene, args.policy, args.loads, args.seconds, args.frames, settings)
        sys.stdout.write(f"{table(rows)}\n")
        if args.json is not None:
            try:
                args.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1))
            except OSError as error:
                raise ConfigError(f"{args.json}: {error.strerror}") from None
    except PipelineError as error:
        sys.stderr.write(f"overload: error: {one_line(error)}\n")
        return 2 if isinstance(error, ConfigError) else 1
    return 0 if all(row.sound for row in rows) else 1


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
