"""Fuzz everything that reads untrusted bytes.

    python -m tools.fuzz [--target NAME ...] [--runs N] [--seconds S] [--seed N] [--jobs N] [--findings DIR]
                         [--engine mutation|atheris]

Prints one line per target. Inputs that a target did not handle correctly are saved, and the exit code is then 1. The
engine ``atheris`` (``pip install atheris``) is guided by code coverage; it stops at the first finding.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.arguments import count, natural
from tools.fuzz.engine import fuzz, save
from tools.fuzz.targets import TARGETS, corpus

HEADER = "| target | inputs | inputs/s | accepted | refused | findings |\n|---|---:|---:|---:|---:|---:|"


def main(argv: Sequence[str]) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(prog="tools.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", action="append", choices=TARGETS, help="reader to fuzz; repeatable (default: all)")
    parser.add_argument("--runs", type=count, help="inputs per target (default: 10000; unlimited with --seconds)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="time limit per target")
    parser.add_argument("--seed", type=natural, default=0, help="seed of the mutations (default: %(default)s)")
    parser.add_argument("--jobs", type=count, default=1, help="number of parallel processes")
    parser.add_argument(
        "--findings",
        type=Path,
        default=Path(tempfile.gettempdir()) / "fuzz-findings",
        help="folder for inputs that fail (default: %(default)s)",
    )
    parser.add_argument(
        "--engine",
        choices=("mutation", "atheris"),
        default="mutation",
        help="random mutations, or guided by coverage (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.engine == "atheris":
        return _guided(args)
    runs = args.runs or (10_000 if math.isinf(args.seconds) else sys.maxsize)

    sys.stdout.write(HEADER + "\n")
    saved: list[Path] = []
    for name in args.target or TARGETS:
        target = TARGETS[name]
        result = fuzz(target, corpus(target), runs=runs, seconds=args.seconds, seed=args.seed, jobs=args.jobs)
        rate, refused = result.runs / max(result.seconds, 1e-9), result.runs - result.accepted - len(result.findings)
        sys.stdout.write(
            f"| {name} | {result.runs} | {rate:.0f} | {result.accepted} | {refused} | {len(result.findings)} |\n"
        )
        sys.stdout.flush()
        for finding, path in zip(result.findings.values(), save(result, args.findings), strict=True):
            sys.stderr.write(f"{name}: {finding.signature}: {path}\n")
            saved.append(path)
    return 1 if saved else 0


def _guided(args: argparse.Namespace) -> int:
    """Run each target under atheris in a separate process."""
    runs = args.runs or (10_000 if math.isinf(args.seconds) else -1)
    limits = [str(runs), "0" if math.isinf(args.seconds) else f"{args.seconds:.0f}", str(args.seed + 1)]
    command = [sys.executable, "-m", "tools.fuzz.guided"]
    codes = [
        subprocess.run([*command, name, *limits, str(args.findings)], check=False).returncode
        for name in args.target or TARGETS
    ]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
