"""The overload tool on real runs. All assertions hold on any machine, however busy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import overload
from tools.overload import Row, from_file, live, table

SCENE = "test://demo?width=64&height=64"
SETTINGS = ["sinks.overlay=false"]


def test_file_is_read_as_fast_as_it_is_processed_and_nothing_is_lost() -> None:
    row = from_file(SCENE, 30, SETTINGS)
    assert (row.captured, row.delivered, row.causes) == (30, 30, {})
    assert row.sound and row.delivered_fps > 0


def test_camera_far_too_fast_is_thinned_out_and_every_frame_accounted_for() -> None:
    row = live(SCENE, "bounded", load=4, rate=250, seconds=1.0, settings=SETTINGS, wait_s=0.5, processing_s=0.1)
    assert row.offered_fps == 1000
    assert row.captured == row.delivered + sum(row.causes.values())
    assert set(row.causes) <= {"stale", "overflow"} and 0 < row.dropped < 1
    assert row.age_ms is not None and list(row.age_ms) == sorted(row.age_ms)
    assert row.limit_ms == pytest.approx(600)
    assert row.closes and row.sound


ROW = Row(
    policy="bounded",
    load=2,
    captured_fps=20,
    delivered_fps=10,
    captured=200,
    delivered=100,
    dropped=0.5,
    causes={"stale": 100},
    age_ms=(500, 550, 580, 600),
    age_first_ms=590,
    age_last_ms=595,
    limit_ms=600,
    closes=True,
)


def changed(**fields: object) -> Row:
    return Row(**{name: getattr(ROW, name) for name in Row.__struct_fields__} | fields)  # type: ignore[arg-type]


def test_limit_holds_for_both_thirds() -> None:
    assert ROW.keeps_limit
    assert not changed(age_last_ms=601).keeps_limit
    assert not changed(age_first_ms=601).keeps_limit
    assert changed(limit_ms=None).keeps_limit is None


def test_unsound_rows() -> None:
    assert ROW.sound
    assert not changed(closes=False).sound
    assert not changed(policy="lossless").sound, "frames are missing"


def test_the_table_shows_all_figures() -> None:
    *_, line = table([ROW]).splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:6] == ["bounded", "2", "20.0", "10.0", "50 %", "100 stale"]
    assert cells[6:] == ["500", "550", "580", "600", "590, 595", "600", "yes", "closes"]


def test_exit_code_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.json"
    for row, code in ((ROW, 0), (changed(closes=False), 1)):
        monkeypatch.setattr(overload, "measure", lambda *_, row=row: [row])
        assert overload.main(["--json", str(path)]) == code
        assert json.loads(path.read_text())[0]["closes"] is row.closes


def test_unwritable_file_is_named_before_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(overload, "measure")
    path = tmp_path / "missing" / "rows.json"
    assert overload.main(["--json", str(path)]) == 2
    assert capsys.readouterr().err == f"overload: error: --json {path}: No such file or directory\n"


def test_wrong_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert overload.main(["--set", "queue.staleness_s=-1"]) == 2
    assert "queue.staleness_s" in capsys.readouterr().err
