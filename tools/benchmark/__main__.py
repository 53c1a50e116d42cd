"""Measure how fast everything is, side by side in one run.

    python -m tools.benchmark [--quick] [--only PART,PART] [--config FILE] [--set KEY=VALUE ...]
                              [--artefact FILE ...] [--sizes WxH,WxH] [--batches N,N] [--backends NAME,NAME]
                              [--cameras N,N] [--json FILE]

Parts: network (every backend against the published network), pipeline (the whole against the network alone, latency,
where time goes), transport (our queue against others), tracker (ours against others), training (our recipe against
the published one), streams (how many cameras, and how cost grows). What is compared takes turns, and medians are
told. ``--config`` and ``--set`` are settings of run_stream.py; they count for the parts pipeline and streams, and
where there is a GPU, ``configs/gpu.yaml`` is the default. ``--artefact`` adds networks that ``tools.export`` has made
to the part network. Narrower than a part would choose: ``--sizes`` of pictures (of the cameras: the last one), and for
the part network ``--batches`` and ``--backends`` ("compiled bf16"); ``--cameras`` leaves of streams these alone.

Prints Markdown, and at its end what could not be measured. Exit code: 0; 1 where a part has no figures at all; 2
wrong usage.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from tqdm import tqdm

from pipeline.errors import ConfigError, PipelineError, one_line
from pipeline.usage import Parser
from tools.benchmark import machine, network, pipeline, streams, tracker, training, transport
from tools.benchmark.job import Context, Findings, Job, Part, reason
from tools.benchmark.machine import Machine
from tools.benchmark.tables import markdown

PARTS = {part.PART.name: part.PART for part in (network, pipeline, transport, tracker, training, streams)}

GPU_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "gpu.yaml"


class PartResult(Struct, kw_only=True):
    """What a part has found: rows by table, and what is missing and why."""

    tables: dict[str, list[Any]] = {}
    missing: list[str] = []


class Record(Struct, frozen=True, kw_only=True):
    """The JSON file.

    Attributes:
        begun: UTC, ISO 8601.
        quick: the short form.
        threads: that everything with a choice was given.
        settings: of the pipeline, as given; ``config`` likewise.
        machine: that it ran on.
        parts: by name.
    """

    begun: str
    quick: bool
    threads: int
    settings: Sequence[str]
    config: str | None
    machine: Machine
    parts: dict[str, PartResult]


class Narrow(NamedTuple):
    """What is measured instead of what the parts would choose; empty leaves it to them.

    Attributes:
        sizes: width and height of the pictures.
        batches: pictures at once.
        backends: each a name with its precision.
        cameras: numbers to try.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    batches: tuple[int, ...] = ()
    backends: tuple[str, ...] = ()
    cameras: tuple[int, ...] = ()

    def scope(self, scope: Any) -> Any:
        """A part's scope with those of its fields exchanged that are given here."""
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
    """Run the jobs of some parts, one after another.

    Raises:
        PipelineError: the configuration is wrong; whatever else goes wrong is noted as missing.
    """
    begun, where = datetime.now(UTC), machine.describe()
    if config is None and where.gpu:
        config = GPU_CONFIG
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        context = Context(where.usable_cores, settings, config, Path(folder), artefacts, narrow.backends)
        scopes = [(part, narrow.scope(part.quick if quick else part.full)) for part in parts]
        plan = [(part, job) for part, scope in scopes for job in part.jobs(scope, context)]
        results = {part.name: PartResult() for part in parts}
        with tqdm(plan, unit=" steps", disable=None) as progress:
            for part, job in progress:
                progress.set_postfix_str(job.label)
                found, result = _run(job), results[part.name]
                for name, rows in found.rows.items():
                    result.tables.setdefault(name, []).extend(rows)
                result.missing.extend(found.missing)
    return Record(
        begun=begun.isoformat(timespec="seconds"),
        quick=quick,
        threads=context.threads,
        settings=list(settings),
        config=str(config) if config else None,
        machine=where,
        parts=results,
    )


def report(record: Record) -> str:
    """A record as Markdown."""
    lines = [f"{record.machine}.", f"Threads: {record.threads}. {record.begun}{', quick' if record.quick else ''}."]
    if record.config or record.settings:
        lines.append(f"Settings: {' '.join([record.config or '', *record.settings]).strip()}.")
    if record.machine.busy:
        lines.append("OTHER PROGRAMS WERE RUNNING: times are longer than this machine's, and ratios less certain.")
    for name, result in record.parts.items():
        lines += ["", f"## {name}", "", PARTS[name].says]
        for title, rows in result.tables.items():
            lines += ["", f"{title}:", "", markdown(rows)]
    missing = [f"- {name}: {line}" for name, result in record.parts.items() for line in result.missing]
    return "\n".join([*lines, "", "## Not measured", "", *(missing or ["Nothing was left out."])])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command-line tool and return its exit code."""
    args = _parse(argv)
    try:
        narrow = Narrow(args.sizes, args.batches, args.backends, args.cameras)
        parts = [PARTS[name] for name in args.only]
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
    return 0 if all(result.tables for result in record.parts.values()) else 1


def _run(job: Job) -> Findings:
    try:
        return job.run()
    except Exception as error:  # hours of other figures are not lost for it
        return Findings({}, [f"{job.label}: {reason(error)}"])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmark", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repeats")
    parser.add_argument(
        "--only", type=_names, default=list(PARTS), metavar="PART,PART", help=f"of {', '.join(PARTS)} (default: all)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of the pipeline")
    parser.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="KEY.PATH=VALUE", help="setting of the pipeline"
    )
    parser.add_argument(
        "--artefact", action="append", default=[], metavar="FILE", help="manifest of an exported network"
    )
    parser.add_argument("--sizes", type=_sizes, default=(), metavar="WxH,WxH", help="of pictures")
    parser.add_argument("--batches", type=_numbers, default=(), metavar="N,N", help="pictures at once")
    parser.add_argument(
        "--backends", type=lambda text: tuple(text.split(",")), default=(), metavar="NAME,NAME", help="with precision"
    )
    parser.add_argument("--cameras", type=_numbers, default=(), metavar="N,N", help="numbers to try")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    return parser.parse_args(argv)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}")
    return list(dict.fromkeys(names))


def _numbers(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text):
        raise argparse.ArgumentTypeError(f"not whole numbers from 1 to 9999 with commas: {text!r}")
    return tuple(int(number) for number in text.split(","))


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    pairs = [_numbers(size.replace("x", ",")) for size in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"not sizes like 640x512 with commas: {text!r}")
    return tuple((width, height) for width, height in pairs)


if __name__ == "__main__":
    sys.exit(main())
