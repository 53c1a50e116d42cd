"""What happens when frames come faster than they can be processed.

    python -m tools.overload [--scene test://...] [--loads 0.5 1 2 4] [--policy bounded latest lossless]
                             [--seconds 20] [--set KEY=VALUE ...] [--json FILE]

First the sustainable rate is measured: the scene as a file, under the lossless policy, is read no faster than it is
processed. Then it plays as a live camera at a quarter of that rate, which gives the processing time of a frame that
meets no other, and then at each load, a multiple of that rate, under each policy. Lossless is for files and is the
first measurement.

Ages are from capture to the written line. The limit is what the policy lets a frame wait at the door (bounded: its
staleness budget; latest: until the frame before is done, 1 / rate) plus one processing time; 99 % of the ages of the
first and of the last third of the run should keep it. What was dropped before the first result, while the network
was being loaded, is left out of the shares.

Exit code: 0; 1 if an account does not close, a frame is lost, a lossless run drops one or a run fails; 2 wrong usage.
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
from pipeline.account import total
from pipeline.arguments import count, positive
from pipeline.errors import ConfigError, PipelineError, one_line
from tools.trend import percentile, thirds
from tools.watched_run import RunFailed, WatchedRun, exit_on_sigterm, sustainable_rate

SCENE = "test://demo?width=160&height=128"
POLICIES = ("bounded", "latest", "lossless")
QUIET_LOAD = 0.25
WARM_UP_S = 2.0
LOOP = 1000
"""Frames after which a live scene begins again."""

Policy = Literal["bounded", "latest", "lossless"]


class Row(Struct, kw_only=True):
    """One run.

    Attributes:
        load: frames that come per frame that can be processed; none for a file.
        offered_fps, captured_fps, delivered_fps: asked of the camera, come from it, and written.
        dropped: share of what came after the first result.
        causes: frames dropped in the whole run.
        age_ms: p50, p95, p99 and greatest age of results.
        age_first_ms, age_last_ms: p99 of the first and the last third.
        limit_ms: see above; none for the quiet run and for files.
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
        """Whether both thirds keep the limit; none without one."""
        if self.limit_ms is None or self.age_first_ms is None or self.age_last_ms is None:
            return None
        return max(self.age_first_ms, self.age_last_ms) <= self.limit_ms

    @property
    def sound(self) -> bool:
        """Nothing happened that must not happen at any load."""
        return self.closes and (self.policy != "lossless" or self.captured == self.delivered)


def from_file(scene: str, frames: int, settings: Sequence[str]) -> Row:
    """The lossless run of a scene as a file."""
    capture = "placement.capture=process"  # as live sources have it, so that rates compare
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
    """A run of the scene as a live camera.

    Args:
        scene: address without rate and length.
        policy: of the queue behind the camera.
        load: of the camera.
        rate: frames per second at load 1.
        seconds: after a warm-up of ``WARM_UP_S`` from the first result on.
        settings: of the run.
        wait_s: part of the limit: at the door.
        processing_s: part of the limit: behind it.

    Raises:
        RunFailed: the run went wrong, or gave no results.
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
    """Rows as Markdown."""
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
    """All runs; the first is that of the file, the second the quiet one.

    Raises:
        PipelineError: a setting is wrong, or a run went wrong.
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
    """Run the tool."""
    parser = argparse.ArgumentParser(prog="overload", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--scene", default=SCENE, help="test:// address without fps, frames, live and loop (%(default)s)"
    )
    parser.add_argument("--loads", type=positive, nargs="+", default=[0.5, 1, 2, 4], metavar="X")
    parser.add_argument("--policy", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--seconds", type=positive, default=20.0, help="of each live run, from its first result on")
    parser.add_argument("--frames", type=count, default=200, help="of the scene as a file")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    if args.frames < 2:
        parser.error("--frames: there must be two")
    settings = ["sinks.overlay=false", *args.settings]
    try:
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
