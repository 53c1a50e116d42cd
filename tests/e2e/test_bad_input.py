"""Invalid input: an error of one line that names the cause, the documented exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import nets
from pipeline import graph
from pipeline.capture import factory
from pipeline.capture.config import CaptureConfig
from pipeline.capture.source import Source
from pipeline.sinks.folder import LOCK
from run_stream import main
from tests.conftest import wait_until
from tests.e2e.harness import FAST, LONG, PROCESSES, SMALL, lines, record, run_program, start


def images(folder: Path, count: int = 6, side: int = 48) -> Path:
    """Create a folder of 16-bit pictures."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(count):
        cv2.imwrite(str(folder / f"{k}.png"), rng.integers(900, 1100, (side, side), np.uint16))
    return folder


def video(path: Path, frames: int = 40) -> Path:
    """Create a small mp4 with its index at the start, as in streamed files."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 64))
    rng = np.random.default_rng(0)
    for _ in range(frames):
        writer.write(rng.integers(0, 255, (64, 64, 3), np.uint8))
    writer.release()
    return path


def missing_file(tmp: Path) -> tuple[str, str]:
    return str(tmp / "gone.mp4"), "gone.mp4"


def empty_file(tmp: Path) -> tuple[str, str]:
    (tmp / "empty.mp4").touch()
    return str(tmp / "empty.mp4"), "empty.mp4"


def truncated_mp4(tmp: Path) -> tuple[str, str]:
    whole = video(tmp / "whole.mp4").read_bytes()
    (tmp / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return str(tmp / "cut.mp4"), "cut.mp4"


def text_named_mp4(tmp: Path) -> tuple[str, str]:
    (tmp / "letter.mp4").write_text("Dear camera,\n" * 200)
    return str(tmp / "letter.mp4"), "letter.mp4"


def folder_without_images(tmp: Path) -> tuple[str, str]:
    (tmp / "bare").mkdir()
    (tmp / "bare" / "notes.txt").write_text("nothing")
    return str(tmp / "bare"), "bare"


def glob_without_match(tmp: Path) -> tuple[str, str]:
    return str(tmp / "cam*.png"), "cam*.png"


def one_pixel(tmp: Path) -> tuple[str, str]:
    folder = images(tmp / "dot", count=1, side=1)
    return str(folder), "1x1"


def too_many_bytes(tmp: Path) -> tuple[str, str]:
    cv2.imwrite(str(tmp / "large.tif"), np.zeros((8193, 16384), np.uint16))
    return str(tmp / "large.tif"), "large.tif: picture of 16384x8193 px 16 bit is larger than 256 MiB"


def unreachable_host(_: Path) -> tuple[str, str]:
    return "rtsp://operator:hunter2@no-such-host.invalid/ir", "no-such-host.invalid"


def wrong_port(_: Path) -> tuple[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"rtsp://operator:hunter2@127.0.0.1:{port}/ir", str(port)


def no_camera(_: Path) -> tuple[str, str]:
    return "/dev/video77", "video77"


def unknown_scheme(_: Path) -> tuple[str, str]:
    return "gopher://host/ir", "gopher"


SOURCES = [
    missing_file, empty_file, truncated_mp4, text_named_mp4, folder_without_images, glob_without_match, one_pixel,
    too_many_bytes, unreachable_host, wrong_port, no_camera, unknown_scheme,
]  # fmt: skip


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_bad_source_is_named_and_the_good_one_beside_it_is_finished(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: Callable[[Path], tuple[str, str]]
) -> None:
    address, named = make(tmp_path)
    out = tmp_path / "out"
    code = main([address, SMALL, *FAST, "--set", "placement.capture=thread", "--out", str(out)])
    errors = capfd.readouterr().err.splitlines()
    assert code == 3
    assert len(errors) == 1, errors
    assert named in errors[0]
    assert "hunter2" not in errors[0]
    if make is not unknown_scheme:  # an invalid address is wrong usage: nothing is started
        run = record(out)
        assert run["drained"] is True
        assert all(source["account"]["closes"] for source in run["sources"].values())
        assert run["sources"]["demo"]["end"] == "finished"
        assert len(lines(out / "demo" / "tracks.jsonl")) == 12
        assert "hunter2" not in json.dumps(run)


def test_source_that_cannot_be_set_up_in_its_stage_leaves_the_others_running(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the keys of a remote camera disappear after the start."""

    def open_source(address: str, config: CaptureConfig, seen: bool) -> Source:
        if address == SMALL:
            return factory.open_source(address, config, seen)
        raise PermissionError(13, "Permission denied", "keys")

    monkeypatch.setattr(graph, "open_source", open_source)
    folder = images(tmp_path / "cam")
    out = tmp_path / "out"
    code = main([SMALL, str(folder), *FAST, "--out", str(out)])
    error = f"run_stream.py: error: {folder}: PermissionError: [Errno 13] Permission denied: 'keys'\n"
    assert (code, capfd.readouterr().err) == (3, error)
    run = record(out)
    assert run["drained"] is True
    assert (run["sources"]["cam"]["end"], run["sources"]["demo"]["end"]) == ("failed", "finished")
    assert len(lines(out / "demo" / "tracks.jsonl")) == 12


def test_picture_of_another_size_keeps_what_came_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = images(tmp_path / "cam")
    cv2.imwrite(str(folder / "3.png"), np.zeros((64, 40), np.uint16))
    out = tmp_path / "out"
    assert main([str(folder), *FAST, "--out", str(out)]) == 3
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1, errors
    assert "3.png" in errors[0]
    assert [line["frame"] for line in lines(out / "cam" / "tracks.jsonl")] == [0, 1, 2]
    run = record(out)["sources"]["cam"]
    assert run["account"]["captured"] == run["account"]["delivered"] == 3
    assert run["end"] == "failed"
    assert "3.png" in run["error"]


def test_damaged_picture_is_skipped_and_fails_the_source_at_its_end(tmp_path: Path, runtime: Path) -> None:
    folder = images(tmp_path / "cam")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:100])
    out = tmp_path / "out"
    done = run_program(str(folder), *FAST, "--out", str(out), runtime=runtime)
    damage = f"{folder / '3.png'}: the image is damaged or cut short"
    error = f"{damage} (1 of 6 files skipped)"
    assert done.stderr == f"{damage}; skipped\nrun_stream.py: error: {error}\n"
    assert done.returncode == 3
    assert [line["frame"] for line in lines(out / "cam" / "tracks.jsonl")] == [0, 1, 2, 4, 5]
    run = record(out)["sources"]["cam"]
    assert run["account"]["captured"] == run["account"]["delivered"] == 5
    assert run["account"]["closes"]
    assert (run["end"], run["error"]) == ("failed", error)


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


def copy_of_weights(tmp: Path) -> Path:
    shipped = Path(nets.__file__).parent / "weights"
    for suffix in (".safetensors", ".json"):
        shutil.copy(shipped / f"mshnet{suffix}", tmp / f"own{suffix}")
    return tmp / "own.safetensors"


def wrong_hash(path: Path) -> str:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return "sha256"


def other_architecture(path: Path) -> str:
    manifest = json.loads(path.with_suffix(".json").read_text())
    manifest["architecture"] = "resnet50"
    path.with_suffix(".json").write_text(json.dumps(manifest))
    return "resnet50"


def not_safetensors(path: Path) -> str:
    path.write_bytes(b"PK\x03\x04 this is something else" * 50)
    return "own.safetensors"


def no_manifest(path: Path) -> str:
    path.with_suffix(".json").unlink()
    return "own.json"


def unknown_field_in_manifest(path: Path) -> str:
    manifest = json.loads(path.with_suffix(".json").read_text())
    manifest["treshold"] = 0.5
    path.with_suffix(".json").write_text(json.dumps(manifest))
    return "treshold"


def no_file(path: Path) -> str:
    path.unlink()
    return "own.safetensors"


WEIGHTS = [wrong_hash, other_architecture, not_safetensors, no_manifest, unknown_field_in_manifest, no_file]


@pytest.mark.parametrize("spoil", WEIGHTS, ids=lambda spoil: spoil.__name__)
def test_bad_weights_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str], spoil: Callable[[Path], str]) -> None:
    path = copy_of_weights(tmp_path)
    named = spoil(path)
    out = tmp_path / "out"
    assert main([SMALL, *FAST, "--set", f"detect.weights={path}", "--out", str(out)]) == 4
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1, errors
    assert named in errors[0]
    assert record(out)["sources"]["demo"]["account"]["closes"]


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


def test_unknown_weights_name_lists_the_known(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([SMALL, *FAST, "--set", "detect.weights=mshnett"]) == 4
    assert "mshnet" in capfd.readouterr().err.replace("mshnett", "")


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


def test_failed_source_is_reported_while_the_others_continue(tmp_path: Path, runtime: Path) -> None:
    run = start(str(tmp_path / "gone.mp4"), LONG, *FAST, runtime=runtime)
    assert run.stderr is not None
    try:
        with selectors.DefaultSelector() as readable:
            readable.register(run.stderr, selectors.EVENT_READ)
            assert readable.select(60), "no error was printed"
        told = run.stderr.readline()
        assert run.poll() is None, "the run continues with its other source"
    finally:
        run.send_signal(signal.SIGINT)
        _, rest = run.communicate(timeout=60)
    assert told == f"run_stream.py: error: {tmp_path / 'gone.mp4'}: no such file\n"
    assert (run.returncode, rest) == (130, ""), "no error is printed twice"
