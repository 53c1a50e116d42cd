"""The record of a run in ``run.json`` and its summary table on the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipeline.accounting import Account, total
from pipeline.capture.address import redact
from pipeline.config import Config
from pipeline.control_link import SourceReport
from pipeline.errors import ConfigError
from pipeline.outcome import Outcome
from pipeline.wall_clock import utc

BEGUN = utc(time.time())
"""Start time of this program, ISO 8601 in UTC."""


def run_record(config: Config, addresses: Mapping[str, str], version: str, outcome: Outcome | None) -> dict[str, Any]:
    """Return the contents of ``run.json``.

    Args:
        config: configuration of the run; secrets are masked here.
        addresses: addresses of the sources, by id; credentials are masked here.
        version: version of this program.
        outcome: result of the run; None while it is running.
    """
    detect = dict(outcome.facts.get("detect", {})) if outcome is not None else {}
    return {
        "version": version,
        "begun": BEGUN,
        "state": "running" if outcome is None else "interrupted" if outcome.interrupted else "ended",
        "drained": outcome is not None and outcome.drained,
        "exit_code": None if outcome is None else outcome.exit_code,
        "errors": [] if outcome is None else [redact(error) for error in outcome.errors],
        "restarts": {} if outcome is None else {name: list(causes) for name, causes in outcome.restarts.items()},
        "config": _masked(msgspec.to_builtins(config)),
        "weights": {"name": detect.get("weights", config.detect.weights), "sha256": detect.get("sha256")},
        "backend": detect.get("backend", config.detect.backend),
        "chosen": detect.get("chosen"),
        "precision": detect.get("precision"),
        "device": detect.get("device"),
        "notice": detect.get("notice"),
        "sources": {
            id_: {"address": redact(address)} | ({} if outcome is None else _source(outcome, id_))
            for id_, address in addresses.items()
        },
    }


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json`` atomically, so that readers never see a partial file.

    Raises:
        ConfigError: the file cannot be written.
    """
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def table(outcome: Outcome) -> str:
    """Format the summary table of a run, one line per source."""
    head = ("source", "frames", "done", "dropped", "lost", "fps", "p50 ms", "p95 ms", "p99 ms", "tracks", "end")
    rows: list[tuple[str, ...]] = [head]
    for id_, account in outcome.accounts.items():
        report = outcome.reports.get(id_, SourceReport())
        latency = report.latency.get("track")
        times = [f"{v:.0f}" for v in (latency.p50, latency.p95, latency.p99)] if latency is not None else ["-"] * 3
        rows.append(
            (
                id_,
                str(account.entered),
                str(account.delivered),
                format_counts(account.dropped),
                format_counts(account.lost),
                f"{report.fps:.1f}",
                *times,
                str(report.tracks_confirmed),
                report.end or "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(w) if 0 < i < len(head) - 1 else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _source(outcome: Outcome, id_: str) -> dict[str, Any]:
    account = outcome.accounts.get(id_, Account())
    report, facts = outcome.reports.get(id_, SourceReport()), outcome.facts.get(f"capture.{id_}", {})
    return {
        "begun": facts.get("begun"),
        "reconnects": int(facts.get("reconnects", 0)),
        "notice": redact(facts.get("notice", "")) or None,
        "account": {
            "captured": account.entered,
            "delivered": account.delivered,
            "dropped": dict(account.dropped),
            "lost": dict(account.lost),
            "in_flight": account.in_flight,
            "closes": account.closes,
        },
        "latency_ms": msgspec.to_builtins(report.latency),
        "fps": round(report.fps, 2),
        "tracks_confirmed": report.tracks_confirmed,
        "end": report.end,
        "error": redact(report.error),
    }


def format_counts(by_cause: Mapping[str, int]) -> str:
    """Format frame counts by cause for display."""
    if not total(by_cause):
        return "0"
    return ", ".join(f"{count} {cause}" for cause, count in sorted(by_cause.items()) if count)


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return redact(value) if isinstance(value, str) else value
