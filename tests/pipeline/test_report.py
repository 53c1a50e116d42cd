"""The record and the summary table of a run: no secrets, and accounts that add up."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.accounting import Account
from pipeline.config import load
from pipeline.control_link import Latency, SourceReport
from pipeline.errors import ConfigError
from pipeline.outcome import Outcome
from pipeline.report import run_record, table, write_record

SECRET = "rtsp://operator:hunter2@10.0.0.5/ir?token=abc123"


def outcome() -> Outcome:
    return Outcome(
        exit_code=3,
        drained=True,
        interrupted=False,
        errors=[f"{SECRET}: connection refused"],
        accounts={
            "cam": Account(entered=10, delivered=6, dropped={"stale": 3}, lost={"track failed": 1}),
            "file": Account(),
        },
        reports={
            "cam": SourceReport(
                delivered=6,
                tracks_confirmed=2,
                fps=24.96,
                latency={"track": Latency(6, 12.4, 20.0, 31.6)},
                end="finished",
            )
        },
        facts={
            "detect": {"weights": "mshnet", "sha256": "0" * 64, "backend": "torch", "device": "cpu"},
            "capture.cam": {"reconnects": "3", "begun": "2026-01-02T03:04:05.678Z", "notice": f"{SECRET} gives 8 bits"},
        },
    )  # fmt: skip


def test_record_contains_no_secret_and_every_frame(tmp_path: Path) -> None:
    config = load(None, [f"detect.weights={SECRET}"])
    record = run_record(config, {"cam": SECRET, "file": "a.mp4"}, "1.0", outcome())
    write_record(tmp_path / "run.json", record)
    text = (tmp_path / "run.json").read_text()
    assert "hunter2" not in text
    assert "abc123" not in text
    read = json.loads(text)
    account = read["sources"]["cam"]["account"]
    assert account["captured"] == 10 == account["delivered"] + 3 + 1 + account["in_flight"]
    assert account["closes"] is True
    assert read["sources"]["cam"]["latency_ms"]["track"] == {"count": 6, "p50": 12.4, "p95": 20.0, "p99": 31.6}
    cam, file = read["sources"]["cam"], read["sources"]["file"]
    assert (cam["reconnects"], cam["begun"]) == (3, "2026-01-02T03:04:05.678Z")
    assert cam["notice"].endswith("gives 8 bits")
    assert (file["reconnects"], file["begun"], file["notice"]) == (0, None, None)
    assert read["weights"] == {"name": "mshnet", "sha256": "0" * 64}
    assert (read["drained"], read["exit_code"], read["state"]) == (True, 3, "ended")


def test_record_of_an_unfinished_run() -> None:
    record = run_record(load(None), {"cam": SECRET}, "1.0", None)
    assert (record["drained"], record["exit_code"], record["state"]) == (False, None, "running")
    begun = datetime.fromisoformat(record["begun"])
    assert begun.utcoffset() == timedelta(0)
    assert timedelta(0) <= datetime.now(UTC) - begun < timedelta(days=1)
    assert record["sources"] == {"cam": {"address": "rtsp://***@10.0.0.5/ir?token=***"}}


def test_table_has_a_line_per_source() -> None:
    head, cam, file = table(outcome()).splitlines()
    assert head.split()[:4] == ["source", "frames", "done", "dropped"]
    assert "3 stale" in cam
    assert "1 track failed" in cam
    assert cam.split()[-2:] == ["2", "finished"]
    assert file.split()[0] == "file"


def test_unwritable_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere/run\.json"):
        write_record(tmp_path / "nowhere" / "run.json", {})


@pytest.mark.parametrize(("delivered", "closes"), [(6, True), (7, False), (5, False)])
def test_an_account_closes_only_if_every_frame_is_there(delivered: int, closes: bool) -> None:
    account = Account(entered=12, delivered=delivered, dropped={"stale": 3}, lost={"x": 1}, in_flight=2)
    assert account.closes is closes
