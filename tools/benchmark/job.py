"""What a part of the benchmark consists of: jobs, each a step of the progress bar, and what they find."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from pipeline.errors import PipelineError, one_line


class Unmeasured(PipelineError):
    """Something cannot be measured here; says what and why."""

    exit_code = 1


def reason(error: Exception) -> str:
    """Why something could not be measured, in one line; where nobody foresaw it, with its type and place."""
    if isinstance(error, PipelineError):
        return one_line(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{one_line(error)} ({Path(place.filename).name}:{place.lineno})"


class Context(NamedTuple):
    """What all parts share.

    Attributes:
        threads: that everything with a choice is given, as many as there are usable cores.
        settings: ``key.path=value``, of the pipeline.
        config: YAML file of the pipeline, if any.
        folder: for temporary files.
        artefacts: manifests of exported networks, to measure beside the weights.
        backends: that the part network is kept to, each a name with its precision; all where there are none.
    """

    threads: int
    settings: Sequence[str]
    config: Path | None
    folder: Path
    artefacts: Sequence[str] = ()
    backends: Sequence[str] = ()


class Findings(NamedTuple):
    """What a job has found.

    Attributes:
        rows: of the tables, by table name; rows of one table are of one type.
        missing: what could not be measured and why, one line each.
    """

    rows: dict[str, list[Any]]
    missing: Sequence[str] = ()


class Job(NamedTuple):
    """One step.

    Attributes:
        label: for the progress bar.
        run: measures; what it raises is what is missing, see ``reason``.
    """

    label: str
    run: Callable[[], Findings]


class Part(NamedTuple):
    """One part of the benchmark.

    Attributes:
        name: on the command line.
        says: what its tables show, for the report.
        full, quick: how much is measured.
        jobs: the steps, from one of the two.
    """

    name: str
    says: str
    full: Struct
    quick: Struct
    jobs: Callable[[Any, Context], list[Job]]
