"""Wrong settings, names and folders start nothing, and ``--verbose`` tells which stage failed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from run_stream import main
from tests.e2e.harness import FAST, PROCESSES, SMALL


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--config", "gone.yaml"], "gone.yaml"),
        (["--set", "detekt.threshold=0.5"], "detekt"),
        (["--set", "detect.threshold=-0.5"], "detect.threshold"),
        (["--set", "detect.batch_size=many"], "detect.batch_size"),
        (["--set", "track.gate=[1]"], "track.gate"),
        (["--set", "detect.masks={mast: [[[0, 0], [9, 0], [9, 9]]]}"], "no source is named mast; there is demo"),
    ],
)
def test_bad_configuration_starts_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    assert main([SMALL, *words, "--out", str(tmp_path / "out")]) == 2
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1
    assert named in errors[0]
    assert not (tmp_path / "out").exists()


def test_folder_too_long_for_sockets_is_named_and_the_longest_is_used(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rest = len(f"/irst-{os.getpid()}-12345678/status.sock")
    longest = runtime / ("n" * (107 - rest - len(str(runtime)) - 1))
    too_long = Path(f"{longest}n")
    monkeypatch.setattr(tempfile, "tempdir", None)
    for folder, code in ((too_long, 2), (longest, 0)):
        folder.mkdir()
        monkeypatch.setenv("TMPDIR", str(folder))
        tempfile.tempdir = None
        assert main([SMALL, *FAST, *PROCESSES]) == code
        assert list(folder.glob("irst-*")) == []
    (error,) = capfd.readouterr().err.splitlines()
    assert str(too_long) in error
    assert "TMPDIR" in error


@pytest.mark.parametrize(("words", "code"), [(["v\udcff.mp4"], 3), ([SMALL, "--out", "out\udcff"], 2)])
def test_names_that_are_no_utf8_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v\udcff.mp4").touch()
    assert main([*words, *FAST]) == code
    (error,) = capfd.readouterr().err.splitlines()
    assert words[-1].replace("\udcff", "\\udcff") in error
    assert "no UTF-8" in error
    assert [path.name for path in tmp_path.iterdir()] == ["v\udcff.mp4"]


def test_verbose_names_the_source_that_failed(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["gone.mp4", *FAST, "--verbose"]) == 3
    error = "gone.mp4: no such file"
    assert capfd.readouterr().err.splitlines() == [
        f"run_stream.py: error: {error}",
        f"run_stream.py: stage capture.gone failed: {error}",
    ]


def test_verbose_adds_the_stage_that_failed_and_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([SMALL, *FAST, "--set", "detect.artefact=gone.json", "--verbose"]) == 4
    told, error = capfd.readouterr().err.splitlines(), "detect.artefact: gone.json: No such file or directory"
    assert told[0] == f"run_stream.py: error: {error}"
    trace = told[told.index(f"run_stream.py: stage detect failed: {error}") + 1 :]
    assert trace[0] == "Traceback (most recent call last):"
    assert f"pipeline.errors.BackendError: {error}" in trace
