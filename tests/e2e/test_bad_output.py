"""Output folders that cannot be used, are in use, or hold an earlier run: one line, and nothing lost."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline.sinks.folder import LOCK
from run_stream import main
from tests.conftest import wait_until
from tests.e2e.harness import FAST, LONG, SMALL, lines, record, run_program, start


def test_output_folder_that_is_a_file_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("mine")
    assert main([SMALL, "--out", str(tmp_path / "taken")]) == 2
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "taken" in errors[0]
    assert (tmp_path / "taken").read_text() == "mine"


def test_output_folder_without_a_name_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main([SMALL, "--out", ""])
    assert exit_info.value.code == 2
    assert capfd.readouterr().err.endswith("argument --out: the name of the folder is empty\n")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_output_folder_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([SMALL, "--out", "/proc/irst-out"]) == 2
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "/proc/irst-out" in errors[0]


def test_second_run_with_the_same_output_folder_is_refused(
    tmp_path: Path, runtime: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = start(LONG, *FAST, "--out", str(tmp_path), runtime=runtime)
    wait_until((tmp_path / "run.json").exists, 60)
    before = (tmp_path / "run.json").read_bytes()
    try:
        assert main([SMALL, *FAST, "--out", str(tmp_path)]) == 2
        error = f"run_stream.py: error: output folder {tmp_path}: in use by run {run.pid}\n"
        assert capfd.readouterr().err == error
        assert (tmp_path / "run.json").read_bytes() == before
    finally:
        run.kill()
        run.communicate(timeout=60)
    assert main([SMALL, *FAST, "--out", str(tmp_path)]) == 0, "a killed run holds no lock"


@pytest.mark.parametrize(
    ("source", "setting", "code"),
    [
        (SMALL, "detect.weights=nonsense", 4),
        (SMALL, "detect.device=cuda:99", 4),
        (SMALL, "detect.artefact=gone.json", 4),
        ("test://nope", "track.gate=13", 3),
        ("gone.mp4", "track.gate=13", 3),
    ],
)
def test_run_that_delivers_nothing_leaves_the_record_and_the_results_of_the_run_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], source: str, setting: str, code: int
) -> None:
    assert main([SMALL, *FAST, "--out", str(tmp_path)]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != LOCK}
    capfd.readouterr()
    assert main([source, *FAST, "--set", setting, "--out", str(tmp_path)]) == code
    assert capfd.readouterr().err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != LOCK} == before


def test_run_replaces_the_record_of_the_run_before_with_its_first_frame(tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "run.json").write_text("of an earlier run")
    run = start(LONG, *FAST, "--out", str(tmp_path), runtime=runtime)
    wait_until(lambda: (tmp_path / "run.json").read_text() != "of an earlier run", 60)
    assert record(tmp_path)["state"] == "running"
    assert lines(tmp_path / "demo" / "tracks.jsonl")
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert record(tmp_path)["state"] == "interrupted"


def test_full_disk_is_named_and_earlier_lines_stay(tmp_path: Path, runtime: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        scene = "test://demo?width=96&height=64&frames=600"
        done = run_program(scene, *FAST, "--out", str(disk / "out"), runtime=runtime)
        assert done.returncode == 5, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert "No space left" in done.stderr
        assert str(disk) in done.stderr
        kept = lines(disk / "out" / "demo" / "tracks.jsonl")
        assert [line["frame"] for line in kept] == list(range(len(kept)))
        assert len(kept) > 0
    finally:
        subprocess.run(["umount", str(disk)], check=False)
        shutil.rmtree(disk, ignore_errors=True)
