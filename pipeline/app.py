"""One run of the pipeline, from the parsed command line to the output files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from tqdm import tqdm

from pipeline import __version__, run_folder
from pipeline import config as configuration
from pipeline.capture.address import redact, source_ids
from pipeline.capture.factory import open_source
from pipeline.config import Config
from pipeline.control_link import StageState
from pipeline.errors import ConfigError, StageError
from pipeline.health.server import Health
from pipeline.outcome import Outcome
from pipeline.process import on_stop
from pipeline.progress import Progress
from pipeline.report import run_record, table, write_record
from pipeline.sinks.folder import reserve
from pipeline.supervisor import Supervisor


def run(
    addresses: Sequence[str],
    config_file: Path | None,
    settings: Sequence[str],
    out: Path | None,
    *,
    verbose: bool = False,
) -> int:
    """Run the graph until its sources end or a signal stops it; print errors as they occur and the table at the end.

    Args:
        addresses: addresses of the sources.
        config_file: YAML file of the configuration, if any.
        settings: overrides of the form ``key.path=value``.
        out: output folder, if any.
        verbose: print at the end which stages failed, with the tracebacks known.

    Returns:
        The exit code.

    Raises:
        PipelineError: the run could not be started.
    """
    config = configuration.load(config_file, settings)
    for address in addresses:
        open_source(address, config.capture)  # refuses invalid addresses before anything starts
    sources = dict(zip(source_ids(addresses), addresses, strict=True))
    configuration.check_sources(config, sources)
    with reserve(out) if out is not None else nullcontext():
        return _run(config, sources, out, verbose=verbose)


def _run(config: Config, sources: Mapping[str, str], out: Path | None, *, verbose: bool) -> int:
    record = _Record(out / "run.json", config, sources) if out is not None else None
    with (
        Health(config.health) as health,
        Progress(list(sources)) as progress,
        Supervisor(config, list(sources.items()), out, warn, report_error) as supervisor,
    ):
        health.update(supervisor)  # so that the first answer is a status
        health.serve_unix_socket(supervisor.folder / run_folder.STATUS)
        if record is not None:
            record.begin()
        on_stop(supervisor.stop)
        watchers = [progress.update, health.update, _PageAddress().update]
        outcome = supervisor.run([*watchers, *([record.update] if record is not None else [])])

    if verbose:
        _show_failures(supervisor.states)
    code = outcome.exit_code
    if record is not None:
        try:
            record.end(outcome)
        except ConfigError as error:
            if not outcome.errors:  # otherwise a stage has already reported the full disk
                report_error(str(error))
            code = code or StageError.exit_code
    sys.stdout.write(table(outcome) + "\n")
    return code


class _Record:
    """The record of this run. That of an earlier run stays until a frame is delivered, as do its other files.

    Args:
        path: path of the file.
        config: configuration of the run.
        sources: address of every source, by id.
    """

    def __init__(self, path: Path, config: Config, sources: Mapping[str, str]) -> None:
        self._path, self._config, self._sources = path, config, sources
        self._begun = False

    def begin(self) -> None:
        """Write the record of a running run, unless there is one of an earlier run.

        Raises:
            ConfigError: the file cannot be written.
        """
        if not self._path.exists():
            self._write(None)

    def update(self, supervisor: Supervisor) -> None:
        """Replace the record of an earlier run once a frame has been delivered."""
        if not self._begun and any(supervisor.account(id_).delivered for id_ in self._sources):
            with suppress(ConfigError):  # ``end`` reports it; until then the run goes on
                self._write(None)

    def end(self, outcome: Outcome) -> None:
        """Write the record of an ended run, unless it has delivered nothing and there is one of an earlier run.

        Raises:
            ConfigError: the file cannot be written.
        """
        if self._begun or any(account.delivered for account in outcome.accounts.values()):
            self._write(outcome)

    def _write(self, outcome: Outcome | None) -> None:
        self._begun = True
        write_record(self._path, run_record(self._config, self._sources, __version__, outcome))


class _PageAddress:
    """Prints the address of the live page, if there is one, as soon as the page is there."""

    def __init__(self) -> None:
        self._told = ""

    def update(self, supervisor: Supervisor) -> None:
        """Print the address unless it has been printed before."""
        sinks = supervisor.states.get("sinks")
        if sinks is not None and (url := sinks.facts.get("page", self._told)) != self._told:
            self._told = url
            report_error(url, "live page")


def _show_failures(states: Mapping[str, StageState]) -> None:
    for name, state in states.items():
        if state.error:
            lines = [f"run_stream.py: stage {name} failed: {state.error}", *state.trace.splitlines()]
            sys.stderr.writelines(f"{redact(line)}\n" for line in lines)


def report_error(line: str, kind: str = "error") -> None:
    """Print one line on standard error, above the progress bar if there is one, with credentials masked."""
    tqdm.write(f"run_stream.py: {kind}: {redact(line)}", file=sys.stderr)


def warn(line: str) -> None:
    """Print one line on standard error about a problem that the run recovers from."""
    report_error(line, "warning")
