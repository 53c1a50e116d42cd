"""Sources that cannot be opened or read: an error of one line that names them; the others are finished."""

from __future__ import annotations

import json
import selectors
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline import stage_runner
from pipeline.capture import factory
from pipeline.capture.config import CaptureConfig
from pipeline.capture.source import Source
from run_stream import main
from tests.e2e.harness import FAST, LONG, SMALL, lines, record, run_program, start


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

    monkeypatch.setattr(stage_runner, "open_source", open_source)
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
