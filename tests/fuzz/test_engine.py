"""The fuzzer detects all kinds of failures and reports them by its exit code."""

from __future__ import annotations

import pytest

from tests.fuzz.faulty import TARGET
from tools.fuzz.__main__ import main
from tools.fuzz.engine import attempt, fuzz, save


def run(*corpus: bytes, runs: int = 3, jobs: int = 1):
    return fuzz(TARGET, list(corpus), runs=runs, seconds=60, seed=0, jobs=jobs)


def test_accepted_and_refused_inputs_are_told_apart():
    assert attempt(TARGET, b"ok")
    assert not attempt(TARGET, b"R")


@pytest.mark.parametrize(
    ("data", "signature"),
    [
        (b"K", "KeyError at tests/fuzz/faulty.py"),
        (b"L", "more than one line"),
        (b"S", "says nothing"),
        (b"M", "MemoryError"),
    ],
)
def test_a_wrong_exception_is_one_finding_however_often_it_comes(data, signature):
    result = run(data, runs=50)
    (finding,) = result.findings.values()
    assert signature in finding.signature
    assert finding.data == data
    assert (result.runs, result.accepted) == (50, 0)


@pytest.mark.parametrize(("data", "signature"), [(b"C", "dies of SIGSEGV"), (b"H", "hangs for more than 2 s")])
def test_a_child_that_dies_leaves_its_input_and_the_rest_is_still_tried(data, signature):
    result = run(b"ok", data, runs=2)
    (finding,) = result.findings.values()
    assert finding.signature == signature
    assert finding.data == data
    assert result.runs == 2


def test_a_sound_reader_has_no_findings_and_every_job_does_its_share():
    result = run(b"ok", b"R", runs=101, jobs=2)
    assert (result.runs, result.findings) == (101, {})
    assert 0 < result.accepted < 101


def test_findings_are_saved_with_their_details(tmp_path):
    (path,) = save(run(b"K"), tmp_path)
    assert path.read_bytes() == b"K"
    assert "never declared" in path.with_suffix(".txt").read_text()


def test_the_command_prints_a_line_per_target(tmp_path, capsys):
    assert main(["--target", "wire", "--runs", "200", "--findings", str(tmp_path)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("| wire | 200 |")
    assert line.endswith("| 0 |")
    assert not list(tmp_path.iterdir())
