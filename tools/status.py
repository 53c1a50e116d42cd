"""Show the state of this user's runs on this machine, or of one run at ``HOST:PORT``.

    python -m tools.status [HOST:PORT] [--json]

Runs are searched for in the temporary folder (``$TMPDIR``, else ``/tmp``) of the caller.

Exit code: 0 if all runs are in state "running"; 1 if at least one is not (it is starting, draining or degraded, or does
not answer); 3 if no run answers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pipeline import run_folder
from pipeline.accounting import total
from pipeline.errors import SourceError
from pipeline.health import client
from pipeline.health.status import RunStatus, SourceStatus, StageStatus


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.status", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument(
        "where", nargs="?", metavar="HOST:PORT", help="address at which a run serves its status (health.port)"
    )
    parser.add_argument("--json", action="store_true", help="print the full status as one line of JSON per run")
    options = parser.parse_args(arguments)
    addresses: list[Path | str] = [options.where] if options.where else list(run_folder.status_sockets())
    if not addresses:
        print(f"status: no run of this user on this machine found in {tempfile.gettempdir()}", file=sys.stderr)
    answers, well = 0, True
    for address in addresses:
        try:
            status = client.status(address)
        except SourceError as error:
            print(f"status: {error}", file=sys.stderr)
            well = False
            continue
        answers += 1
        well &= status.state == "running"
        print(msgspec.json.encode(status).decode() if options.json else table(status))
    return SourceError.exit_code if not answers else int(not well)


def table(status: RunStatus) -> str:
    """Format the status of a run for people: state and problems, stages, sources."""
    memory = status.rss_bytes + sum(stage.rss_bytes or 0 for stage in status.stages.values())
    lines = [f"run {status.pid}: {status.state}, up {status.uptime_s:.0f} s, {memory / 2**20:.0f} MiB"]
    lines += [f"  ! {trouble}" for trouble in status.troubles]
    lines += [_stage(name, stage) for name, stage in reversed(list(status.stages.items()))]
    lines += [line for id_, source in status.sources.items() for line in _source(id_, source)]
    return "\n".join(lines)


def _stage(name: str, stage: StageStatus) -> str:
    again = f", restarted {stage.restarts}x, last: {stage.causes[-1]}" if stage.restarts else ""
    rate = "-" if stage.rate is None else f"{stage.rate:.1f}"
    expected = "-" if stage.expected_rate is None else f"{stage.expected_rate:.1f}"
    idle = "" if stage.idle_share is None else f", idle {stage.idle_share:.0%}"
    return (
        f"  {name:<20} {'slow' if stage.slow else stage.state:<8} {stage.where:<7} "
        f"{rate:>6} of {expected:>5} /s{idle}, backlog {stage.backlog}, heartbeat {stage.beat_age_s:.1f} s ago{again}"
    )


def _source(id_: str, source: SourceStatus) -> list[str]:
    age = "-" if source.newest_age_s is None else f"{source.newest_age_s:.2f} s"
    latency = source.latency_ms.get("track")
    ego = source.ego_ok / source.delivered if source.delivered else 0.0
    return [
        f"  {id_}: {source.end or source.medium or 'starting'}, {source.captured} captured, "
        f"{source.delivered} delivered, {total(source.dropped)} dropped, {total(source.lost)} lost, "
        f"{source.in_flight} in flight",
        f"    {source.fps:.1f} fps, newest {age}, p95 {latency.p95 if latency else 0:.0f} ms, "
        f"ego-motion valid {ego:.0%}, {source.tracks.get('confirmed', 0)} confirmed tracks now, "
        f"{source.tracks_confirmed} in total, static clutter: {source.places.get('scene', 0)} in the scene, "
        f"{source.places.get('sensor', 0)} on the sensor, hidden pixels: {source.places.get('pixel', 0)} "
        f"single, {source.places.get('graphics', 0)} in graphics"
        f"{', black-hot' if source.black_hot else ''}",
    ]


if __name__ == "__main__":
    sys.exit(main())
