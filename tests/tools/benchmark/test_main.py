"""The command line of the benchmark: what it prints, writes and rejects."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from tools.benchmark import __main__ as tool
from tools.benchmark.job import Context, Findings, Job, Part, Unmeasured


class Row(Struct):
    way: str
    ms: float


def failing() -> Findings:
    raise Unmeasured("there is no such thing here")


def jobs(scope: Row, context: Context) -> list[Job]:
    assert context.folder.is_dir()
    return [
        Job("first", lambda: Findings({"times": [scope]}, ["something small"])),
        Job("second", failing),
        Job("third", lambda: Findings({"times": [Row("c", 3)], "settings": [Row(" ".join(context.settings), 0)]})),
    ]


FAKE = Part("fake", "What is fake.", Row("full", 1), Row("quick", 2), jobs)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tool.PARTS, "fake", FAKE)


@pytest.mark.usefixtures("fake")
def test_report_and_json_hold_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    assert tool.main(["--quick", "--only", "fake", "--set", "a.b=1", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "| quick | 2 |" in out and "| c | 3 |" in out and "Settings: a.b=1." in out
    assert out.endswith("## Not measured\n\n- fake: something small\n- fake: second: there is no such thing here\n")
    record = json.loads(path.read_text())
    assert set(record) == {"begun", "quick", "threads", "settings", "config", "machine", "parts", "interrupted"}
    assert record["quick"] is True and record["settings"] == ["a.b=1"] and record["threads"] >= 1
    assert record["machine"]["usable_cores"] == record["threads"]
    part = record["parts"]["fake"]
    assert part["tables"]["times"] == [{"way": "quick", "ms": 2}, {"way": "c", "ms": 3}]
    assert len(part["missing"]) == 2


@pytest.mark.usefixtures("fake")
def test_part_without_figures_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(tool.PARTS, "fake", FAKE._replace(jobs=lambda *_: [Job("only", failing)]))
    assert tool.main(["--only", "fake"]) == 1
    assert "- fake: only: there is no such thing here" in capsys.readouterr().out


@pytest.mark.usefixtures("fake")
def test_an_unexpected_error_loses_only_its_own_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def both(scope: Row, context: Context) -> list[Job]:
        return [Job("broken", lambda: Findings({"times": [1 // 0]})), *jobs(scope, context)]

    monkeypatch.setitem(tool.PARTS, "fake", FAKE._replace(jobs=both))
    path = tmp_path / "figures.json"
    assert tool.main(["--only", "fake", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "- fake: broken: ZeroDivisionError: integer division or modulo by zero (test_main.py:" in out
    assert len(json.loads(path.read_text())["parts"]["fake"]["tables"]["times"]) == 2


@pytest.mark.usefixtures("fake")
def test_ctrl_c_keeps_the_figures_of_finished_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> Findings:
        raise KeyboardInterrupt

    def with_pause(scope: Row, context: Context) -> list[Job]:
        first, _, third = jobs(scope, context)
        return [first, Job("second", interrupted), third]

    monkeypatch.setitem(tool.PARTS, "fake", FAKE._replace(jobs=with_pause))
    path = tmp_path / "figures.json"
    assert tool.main(["--only", "fake", "--json", str(path)]) == 130
    out = capsys.readouterr().out
    assert "| full | 1 |" in out
    assert out.endswith("something small\n- fake: second: interrupted\n- fake: third: interrupted\n")
    record = json.loads(path.read_text())
    assert record["interrupted"] is True
    assert record["parts"]["fake"]["tables"]["times"] == [{"way": "full", "ms": 1}]


def test_every_part_states_all_it_measures(tmp_path: Path) -> None:
    context = Context(1, [], None, tmp_path)
    for name in ("network", "pipeline", "transport", "tracker", "training", "streams"):
        part = tool.PARTS[name]
        quick, full = (part.jobs(scope, context) for scope in (part.quick, part.full))
        assert 0 < len(quick) <= len(full)
        assert msgspec.to_builtins(part.quick) != msgspec.to_builtins(part.full)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--only", "network,disk"], "unknown part 'disk'"),
        (["--set", "x.y=1"], "`x`"),
        (["--sizes", "640"], "expected sizes like 640x512"),
        (["--sizes", "640x512x3"], "expected sizes like 640x512"),
        (["--batches", "0"], "expected whole numbers from 1"),
        (["--json", "/gone/figures.json"], "--json /gone/figures.json: No such file"),
        (["--backends", "torch fp32,touch bf16"], "'touch bf16': expected a backend (torch, "),
        (["--backends", "torch"], "'torch': expected a backend (torch, "),
        (["--cameras", "1,,2"], "expected whole numbers from 1"),
    ],
)
def test_wrong_usage_is_named(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = tool.main(["--only", "pipeline", *words])
    except SystemExit as left:
        code = left.code
    assert code == 2
    assert complaint in capsys.readouterr().err


def test_a_real_part_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    assert tool.main(["--quick", "--only", "tracker", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["parts"]["tracker"]["tables"]["trackers"]
    fields = {"targets", "tracker", "hota", "assa", "mota", "switches", "us", "p99_us", "times_ours"}
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(fields))}
    assert "| targets | tracker | hota |" in capsys.readouterr().out


def test_what_is_measured_can_be_narrowed(tmp_path: Path) -> None:
    words = ["--sizes", "64x48,96x64", "--batches", "2,8", "--backends", "torch fp32", "--cameras", "3,5"]
    args = tool._parse(words)
    narrow = tool.Narrow(args.sizes, args.batches, args.backends, args.cameras)
    context = Context(1, [], None, tmp_path)
    labels = {
        name: [job.label for job in part.jobs(narrow.scope(part.quick), context)] for name, part in tool.PARTS.items()
    }
    sizes = ("64x48", "96x64")
    assert labels["network"] == ["hardware", *(f"network {size} batch {batch}" for size in sizes for batch in (2, 8))]
    assert labels["pipeline"][:-1] == [f"{kind} {size}" for size in sizes for kind in ("efficiency", "latency")]
    assert labels["streams"] == ["3 cameras", "5 cameras"]
    assert narrow.scope(tool.PARTS["streams"].quick).size == (96, 64)
    for name in ("tracker", "training"):
        assert narrow.scope(tool.PARTS[name].quick) == tool.PARTS[name].quick
    for part in tool.PARTS.values():
        assert tool.Narrow().scope(part.full) == part.full


@pytest.mark.usefixtures("fake")
def test_a_busy_machine_is_reported() -> None:
    record = tool.measure([FAKE], True, None, [])
    for load, said in ((0.1, False), (5.0 * record.machine.cores, True)):
        machine = msgspec.structs.replace(record.machine, load=load)
        assert ("OTHER PROGRAMS" in tool.report(msgspec.structs.replace(record, machine=machine))) is said
