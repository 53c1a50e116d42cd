"""Benchmark the speed of network, pipeline, transport, tracker and training side by side.

    python -m tools.benchmark [--quick] [--only PART,PART] [--config FILE] [--set KEY=VALUE ...]
                              [--artefact FILE ...] [--sizes WxH,WxH] [--batches N,N] [--backends NAME,NAME]
                              [--cameras N,N] [--json FILE]

Parts:

- network: every backend against the network as published
- pipeline: the whole pipeline against the network alone, latency, and where time is spent
- transport: our queue against other ways to pass pictures
- tracker: our tracker against those of a library
- training: our recipe against the published one
- streams: how many cameras one machine sustains, and how cost grows

Compared items are measured in turns, and medians are reported. ``--config`` and ``--set`` are settings of run_stream.py
for the parts pipeline and streams; on a machine with a GPU ``configs/gpu.yaml`` is the default. ``--artefact`` adds
networks exported by ``tools.export`` to the part network. These options limit what is measured: ``--sizes`` of pictures
(cameras use the last one), ``--batches`` and ``--backends`` (such as "compiled bf16") of the part network, and
``--cameras`` to try only these numbers of cameras in the part streams.

Prints Markdown that ends with what could not be measured. On Ctrl-C, the figures of the finished steps are reported.
Exit code: 0 on success; 1 if a part has no figures at all; 2 for wrong usage; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from tqdm import tqdm

from pipeline import output_file
from pipeline.argument_parser import RedactingParser, add_settings
from pipeline.detect.backends.choice import BACKENDS
from pipeline.detect.config import Precision
from pipeline.errors import INTERRUPTED, ConfigError, PipelineError, one_line
from tools.benchmark import machine, network, pipeline, streams, tracker, training, transport
from tools.benchmark.job import Context, Findings, Job, Part, reason
from tools.benchmark.machine import Machine
from tools.benchmark.tables import markdown

PARTS = {part.PART.name: part.PART for part in (network, pipeline, transport, tracker, training, streams)}

GPU_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "gpu.yaml"


class PartResult(Struct, kw_only=True):
    """Results of a part: rows by table, and what is missing with the reasons."""

    tables: dict[str, list[Any]] = {}
    missing: list[str] = []


class Record(Struct, frozen=True, kw_only=True):
    """Contents of the JSON file.

    Attributes:
        begun: start time, UTC in ISO 8601.
        quick: whether ``--quick`` was given.
        threads: number of threads, wherever it can be chosen.
        settings: settings of the pipeline, as given; ``config`` likewise.
        machine: the machine of the benchmark.
        parts: results by name of the part.
        interrupted: whether the benchmark was ended by Ctrl-C.
    """

    begun: str
    quick: bool
    threads: int
    settings: Sequence[str]
    config: str | None
    machine: Machine
    parts: dict[str, PartResult]
    interrupted: bool = False


class Narrow(NamedTuple):
    """Limits from the command line on what is measured; empty fields leave the choice to the parts.

    Attributes:
        sizes: width and height of the pictures.
        batches: batch sizes.
        backends: backends, each a name with its precision.
        cameras: numbers of cameras to try.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    batches: tuple[int, ...] = ()
    backends: tuple[str, ...] = ()
    cameras: tuple[int, ...] = ()

    def scope(self, scope: Any) -> Any:
        """Return the scope of a part with the fields that are given here replaced."""
        given = {name: getattr(self, name) for name in ("sizes", "batches", "cameras")}
        given["size"] = self.sizes[-1:] and self.sizes[-1]
        return replace(scope, **{name: value for name, value in given.items() if value and hasattr(scope, name)})


FREE = Narrow()


def measure(
    parts: Sequence[Part],
    quick: bool,
    config: Path | None,
    settings: Sequence[str],
    artefacts: Sequence[str] = (),
    narrow: Narrow = FREE,
) -> Record:
    """Run the jobs of some parts one after another.

    Raises:
        PipelineError: the configuration is wrong. Any other failure is recorded as missing, and so is every job from
            the one on that Ctrl-C interrupted.
    """
    begun, where, done = datetime.now(UTC), machine.describe(), 0
    if config is None and where.gpu:
        config = GPU_CONFIG
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        context = Context(where.usable_cores, settings, config, Path(folder), artefacts, narrow.backends)
        scopes = [(part, narrow.scope(part.quick if quick else part.full)) for part in parts]
        plan = [(part, job) for part, scope in scopes for job in part.jobs(scope, context)]
        results = {part.name: PartResult() for part in parts}
        with tqdm(plan, unit=" steps", disable=None) as progress, contextlib.suppress(KeyboardInterrupt):
            for part, job in progress:
                progress.set_postfix_str(job.label)
                found, result = _run(job), results[part.name]
                for name, rows in found.rows.items():
                    result.tables.setdefault(name, []).extend(rows)
                result.missing.extend(found.missing)
                done += 1
        for part, job in plan[done:]:
            results[part.name].missing.append(f"{job.label}: interrupted")
    return Record(
        begun=begun.isoformat(timespec="seconds"),
        quick=quick,
        threads=context.threads,
        settings=list(settings),
        config=str(config) if config else None,
        machine=where,
        parts=results,
        interrupted=done < len(plan),
    )


def report(record: Record) -> str:
    """Format a record as Markdown."""
    lines = [f"{record.machine}.", f"Threads: {record.threads}. {record.begun}{', quick' if record.quick else ''}."]
    if record.config or record.settings:
        lines.append(f"Settings: {' '.join([record.config or '', *record.settings]).strip()}.")
    if record.machine.busy:
        lines.append("OTHER PROGRAMS WERE RUNNING: times are longer than on an idle machine, and ratios less certain.")
    for name, result in record.parts.items():
        lines += ["", f"## {name}", "", PARTS[name].says]
        for title, rows in result.tables.items():
            lines += ["", f"{title}:", "", markdown(rows)]
    missing = [f"- {name}: {line}" for name, result in record.parts.items() for line in result.missing]
    return "\n".join([*lines, "", "## Not measured", "", *(missing or ["Everything was measured."])])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command-line tool and return its exit code."""
    args = _parse(argv)
    try:
        narrow = Narrow(args.sizes, args.batches, args.backends, args.cameras)
        parts = [PARTS[name] for name in args.only]
        if args.json is not None:
            output_file.check("--json", args.json)
        record = measure(parts, args.quick, args.config, args.settings, args.artefact, narrow)
        sys.stdout.write(report(record) + "\n")
        if args.json is not None:
            try:
                args.json.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
            except OSError as error:
                raise ConfigError(f"{args.json}: {error.strerror}") from None
    except PipelineError as error:
        sys.stderr.write(f"benchmark: error: {one_line(error)}\n")
        return error.exit_code
    if record.interrupted:
        return INTERRUPTED
    return 0 if all(result.tables for result in record.parts.values()) else 1


def _run(job: Job) -> Findings:
    try:
        return job.run()
    except Exception as error:  # one failure must not lose hours of other figures
        return Findings({}, [f"{job.label}: {reason(error)}"])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = RedactingParser(prog="benchmark", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="measure fewer sizes and repeats")
    parser.add_argument(
        "--only",
        type=_names,
        default=list(PARTS),
        metavar="PART,PART",
        help=f"parts to run, of {', '.join(PARTS)} (default: all)",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML configuration of the pipeline")
    add_settings(parser)
    parser.add_argument(
        "--artefact",
        action="append",
        default=[],
        metavar="FILE",
        help="manifest of an exported network to measure; repeatable",
    )
    parser.add_argument("--sizes", type=_sizes, default=(), metavar="WxH,WxH", help="sizes of pictures")
    parser.add_argument("--batches", type=_numbers, default=(), metavar="N,N", help="batch sizes of the network")
    parser.add_argument(
        "--backends",
        type=_backends,
        default=(),
        metavar="NAME,NAME",
        help="backends with precision of the network",
    )
    parser.add_argument("--cameras", type=_numbers, default=(), metavar="N,N", help="numbers of cameras to try")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    return parser.parse_args(argv)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"unknown part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    return list(dict.fromkeys(names))


def _backends(text: str) -> tuple[str, ...]:
    for name in (names := tuple(text.split(","))):
        backend, _, precision = name.partition(" ")
        if backend not in BACKENDS or precision not in get_args(Precision):
            raise argparse.ArgumentTypeError(
                f"{name!r}: expected a backend ({', '.join(BACKENDS)}), a blank and a precision "
                f"({', '.join(get_args(Precision))})"
            )
    return names


def _numbers(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text):
        raise argparse.ArgumentTypeError(f"expected whole numbers from 1 to 9999, separated by commas: {text!r}")
    return tuple(int(number) for number in text.split(","))


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    pairs = [_numbers(size.replace("x", ",")) for size in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"expected sizes like 640x512, separated by commas: {text!r}")
    return tuple((width, height) for width, height in pairs)


if __name__ == "__main__":
    sys.exit(main())
