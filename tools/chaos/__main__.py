"""Inject faults into real runs and check that each run behaves as promised.

    python -m tools.chaos [--list] [--only NAME ...] [--source FILE] [--json FILE]
    python -m tools.chaos --kills N [--seed S] [--source FILE] [--json FILE]

Prints one line per fault; the exit code is 1 if a promised outcome was not met. With ``--kills``, stages of runs under
load are killed at random instead.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline import output_file
from pipeline.arguments import count, natural
from pipeline.errors import ConfigError
from tools.chaos import kills, report
from tools.chaos.faults import FAULTS
from tools.chaos.trial import attempt

SCENE = "test://demo?width=96&height=64&frames=240"


def main(argv: Sequence[str]) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(prog="tools.chaos", description=(__doc__ or "").split("\n")[0])
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--list", action="store_true", help="list the faults and whether they can be tried here")
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help="try only this fault; repeatable"
    )
    parser.add_argument(
        "--source", default=SCENE, metavar="FILE", help="recording of at least 90 frames (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file")
    parser.add_argument("--kills", type=count, metavar="N", help="kill N random stages under load with SIGKILL")
    parser.add_argument("--seed", type=natural, default=0, help="seed of the random kills (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.list:
        sys.stdout.write("".join(f"{fault.name}: {fault.obstacle() or 'can be tried'}\n" for fault in FAULTS))
        return 0
    if args.json is not None:
        try:
            output_file.check("--json", args.json)
        except ConfigError as error:
            parser.error(str(error))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that runs are cleaned up
    if args.kills:
        campaign = kills.campaign(args.kills, args.seed, args.source)
        _say(kills.table(campaign))
        _save(args.json, vars(campaign))
        return 1 if campaign.objections else 0
    _say(report.HEADER)
    results = []
    for fault in FAULTS:
        if fault.name in (args.only or names):
            results.append(attempt(fault, args.source))
            _say(report.line(results[-1]))
    _save(args.json, [asdict(result) | {"verdict": result.verdict} for result in results])
    return 1 if any(result.objections for result in results) else 0


def _say(lines: str) -> None:
    sys.stdout.write(lines + "\n")
    sys.stdout.flush()


def _save(path: Path | None, found: object) -> None:
    if path is not None:
        path.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
