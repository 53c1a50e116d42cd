"""Building blocks of the benchmark: parts, their jobs (steps of the progress bar) and the findings of jobs."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from pipeline.errors import PipelineError, one_line


class Unmeasured(PipelineError):
    """Something cannot be measured here; the message says what and why."""

    exit_code = 1


def reason(error: Exception) -> str:
    """Describe in one line why something could not be measured; unexpected errors come with type and source line."""
    if isinstance(error, PipelineError):
        return one_line(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{one_line(error)} ({Path(place.filename).name}:{place.lineno})"


class Context(NamedTuple):
    """Settings shared by all parts.

    Attributes:
        threads: number of threads wherever it can be chosen, equal to the usable cores.
        settings: settings of the pipeline as ``key.path=value``.
        config: YAML file of the pipeline, if any.
        folder: folder for temporary files.
        artefacts: manifests of exported networks to measure besides the weights.
        backends: backends that the part network is limited to, each a name with its precision; empty for all.
    """

    threads: int
    settings: Sequence[str]
    config: Path | None
    folder: Path
    artefacts: Sequence[str] = ()
    backends: Sequence[str] = ()


class Findings(NamedTuple):
    """Results of a job.

    Attributes:
        rows: table rows by table name; the rows of a table have one type.
        missing: what could not be measured and why, one line each.
    """

    rows: dict[str, list[Any]]
    missing: Sequence[str] = ()


class Job(NamedTuple):
    """One step of the benchmark.

    Attributes:
        label: text for the progress bar.
        run: does the measurement; an exception is recorded as missing, see ``reason``.
    """

    label: str
    run: Callable[[], Findings]


class Part(NamedTuple):
    """One part of the benchmark.

    Attributes:
        name: name on the command line.
        says: what its tables show, for the report.
        full, quick: scopes, which say how much is measured.
        jobs: makes the steps for one of the two scopes.
    """

    name: str
    says: str
    full: Struct
    quick: Struct
    jobs: Callable[[Any, Context], list[Job]]
