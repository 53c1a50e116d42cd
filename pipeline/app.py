"""One run from the command line's words to the files on disk."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from pipeline import __version__, private
from pipeline import config as configuration
from pipeline.capture.address import redact, source_ids
from pipeline.capture.factory import open_source
from pipeline.config import Config
from pipeline.detect.masks import check_names
from pipeline.errors import ConfigError, StageError
from pipeline.health.server import Health
from pipeline.process import on_stop
from pipeline.progress import Progress
from pipeline.report import run_record, table, write_record
from pipeline.sinks.folder import reserve
from pipeline.supervisor import Supervisor


def run(addresses: Sequence[str], config_file: Path | None, settings: Sequence[str], out: Path | None) -> int:
    """Run the graph until its sources end or a signal stops it; print errors as they come, and the table at the end.

    Returns:
        the exit code.

    Raises:
        PipelineError: the run could not be started; an earlier one's ``run.json`` is as it was.
    """
    config = configuration.load(config_file, settings)
    for address in addresses:
        open_source(address, config.capture)  # refuses what is no address before anything starts
    sources = dict(zip(source_ids(addresses), addresses, strict=True))
    check_names(config.detect.masks, sources)
    with reserve(out) if out is not None else nullcontext():
        return _run(config, sources, out)


def _run(config: Config, sources: Mapping[str, str], out: Path | None) -> int:
    with (
        Health(config.health) as health,
        Progress(list(sources)) as progress,
        Supervisor(config, list(sources.items()), out, warn, complain) as supervisor,
    ):
        health.serve_unix_socket(supervisor.folder / private.STATUS)
        if out is not None:
            write_record(out / "run.json", run_record(config, sources, __version__, None))
        on_stop(supervisor.stop)
        outcome = supervisor.run([progress.update, health.update])

    code = outcome.exit_code
    if out is not None:
        try:
            write_record(out / "run.json", run_record(config, sources, __version__, outcome))
        except ConfigError as error:
            if not outcome.errors:  # else the disk is as full as a stage has already said
                complain(str(error))
            code = code or StageError.exit_code
    sys.stdout.write(table(outcome) + "\n")
    return code


def complain(line: str, kind: str = "error") -> None:
    """One line on standard error, above the progress bar where there is one, without credentials."""
    tqdm.write(f"run_stream.py: {kind}: {redact(line)}", file=sys.stderr)


def warn(line: str) -> None:
    """One line on standard error about what goes wrong and is put right."""
    complain(line, "warning")
