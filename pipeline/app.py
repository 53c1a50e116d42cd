"""One run of the pipeline, from the parsed command line to the output files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from pipeline import __version__, run_folder
from pipeline import config as configuration
from pipeline.capture.address import redact, source_ids
from pipeline.capture.factory import open_source
from pipeline.config import Config
from pipeline.errors import ConfigError, StageError
from pipeline.health.server import Health
from pipeline.process import on_stop
from pipeline.progress import Progress
from pipeline.report import run_record, table, write_record
from pipeline.sinks.folder import reserve
from pipeline.supervisor import Supervisor


def run(addresses: Sequence[str], config_file: Path | None, settings: Sequence[str], out: Path | None) -> int:
    """Run the graph until its sources end or a signal stops it; print errors as they occur and the table at the end.

    Returns:
        The exit code.

    Raises:
        PipelineError: the run could not be started. The ``run.json`` of an earlier run is left unchanged.
    """
    config = configuration.load(config_file, settings)
    for address in addresses:
        open_source(address, config.capture)  # refuses invalid addresses before anything starts
    sources = dict(zip(source_ids(addresses), addresses, strict=True))
    configuration.check_sources(config, sources)
    with reserve(out) if out is not None else nullcontext():
        return _run(config, sources, out)


def _run(config: Config, sources: Mapping[str, str], out: Path | None) -> int:
    with (
        Health(config.health) as health,
        Progress(list(sources)) as progress,
        Supervisor(config, list(sources.items()), out, warn, report_error) as supervisor,
    ):
        health.serve_unix_socket(supervisor.folder / run_folder.STATUS)
        if out is not None:
            write_record(out / "run.json", run_record(config, sources, __version__, None))
        on_stop(supervisor.stop)
        outcome = supervisor.run([progress.update, health.update])

    code = outcome.exit_code
    if out is not None:
        try:
            write_record(out / "run.json", run_record(config, sources, __version__, outcome))
        except ConfigError as error:
            if not outcome.errors:  # otherwise a stage has already reported the full disk
                report_error(str(error))
            code = code or StageError.exit_code
    sys.stdout.write(table(outcome) + "\n")
    return code


def report_error(line: str, kind: str = "error") -> None:
    """Print one line on standard error, above the progress bar if there is one, with credentials masked."""
    tqdm.write(f"run_stream.py: {kind}: {redact(line)}", file=sys.stderr)


def warn(line: str) -> None:
    """Print one line on standard error about a problem that the run recovers from."""
    report_error(line, "warning")
