"""Error messages for unreadable sources: one line that names the source and what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.capture.config import CaptureConfig
from pipeline.capture.factory import open_source
from pipeline.errors import SourceError, one_line
from tests.capture.conftest import cut, film, ramp, write


def empty(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def text_as(name: str):
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_text("This is no picture at all.\n" * 50)
        return path

    return make


def cut_index(folder: Path) -> Path:
    return cut(film(folder / "a.mp4", "-pix_fmt", "yuv420p"), 0.6)


def cut_png(folder: Path) -> Path:
    return cut(write(folder / "a.png", ramp(np.uint16)), 0.6)


def flipped(name: str):
    def make(folder: Path) -> Path:
        path = write(folder / name, ramp(np.uint16))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
        return path

    return make


def no_images(folder: Path) -> Path:
    (folder / "readme.txt").write_text("nothing here")
    return folder


def videos(folder: Path) -> Path:
    (folder / "a.mp4").touch()
    return folder / "*.mp4"


CASES = [
    (lambda f: f / "none.mp4", "{}: no such file"),
    (lambda f: f / "none.png", "{}: no such file"),
    (lambda f: f / "none" / "a.mp4", "{}: no such file"),
    (empty, "{}: the file is empty"),
    (text_as("text.mp4"), "{}: not a readable video"),
    (text_as("text"), "{}: not a readable video"),
    (text_as("text.png"), "{}: not a readable image"),
    (text_as("text.tif"), "{}: not a readable image"),
    (text_as("text.jpg"), "{}: not a readable image"),
    (cut_index, "{}: the file is cut short, its last N bytes and the index are missing"),
    (cut_png, "{}: the image is damaged or cut short"),
    (flipped("a.png"), "{}: the image is damaged or cut short"),
    (lambda f: cut(write(f / "a.jpg", ramp(np.uint8)), 0.6), "{}: the image is damaged or cut short"),
    (lambda f: cut(write(f / "a.tif", ramp(np.uint16)), 0.6), "{}: not a readable image"),
    (flipped("a.tif"), "{}: not a readable image"),
    (no_images, "{}: no images in the folder (looked for .png .tif .tiff .bmp .jpg .jpeg)"),
    (lambda f: f / "*.png", "{}: no images match the pattern"),
    (videos, "{}: no images match the pattern, only other files; name videos one by one"),
    (lambda f: write(f / "a.png", ramp(np.uint8, 1, 1)), "{}: picture of 1x1 px is smaller than 32x32"),
    (lambda f: write(f / "a.png", ramp(np.uint8, 32, 31)), "{}: picture of 31x32 px is smaller than 32x32"),
    (
        lambda f: write(f / "a.tif", ramp(np.float32)),
        "{}: pixels of type float32, only 8-bit and 16-bit unsigned can be read",
    ),
    (
        lambda f: film(f / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "gray", size="30x40"),
        "{}: picture of 30x40 px is smaller than 32x32",
    ),
]


@pytest.mark.parametrize(("make", "message"), CASES)
def test_bad_file_is_named_in_one_line(make, message, tmp_path, capfd):
    path = make(tmp_path)
    assert _first_error(str(path)) == message.format(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "the name of a source is empty"),
        (
            "gopher://h/x",
            "gopher://h/x: unknown scheme 'gopher' (known: file, rtsp, rtsps, udp, srt, http, https, test, zmq+tcp)",
        ),
        ("/dev/video97", "/dev/video97: no such camera"),
        ("97", "/dev/video97: no such camera"),
        ("test://nowhere", "test://nowhere: unknown scene 'nowhere' (known: sky, sea, ground, crossing, demo)"),
        ("test://sky?seed=x", "test://sky?seed=x: Expected `int`, got `str` - at `$.seed`"),
        ("rtsp:///path", "rtsp:///path: the address names no host"),
        ("udp://127.0.0.1", "udp://127.0.0.1: the address names no port"),
        ("rtsp://host:x/path", "rtsp://host:x/path: not a valid host and port"),
        ("http://host:99999/path", "http://host:99999/path: not a valid host and port"),
        (
            "rtsp://user:se/cret@127.0.0.1/path",
            "rtsp://***@127.0.0.1/path: not a valid host and port; "
            "in a user name or password write / ? # : @ as %2F %3F %23 %3A %40",
        ),
    ],
)
def test_bad_address_is_named_in_one_line(address, message):
    assert _first_error(address) == message


def test_folder_named_like_a_video_is_a_folder_of_images(tmp_path):
    folder = tmp_path / "clip.mp4"
    folder.mkdir()
    assert "no images in the folder" in _first_error(str(folder))


def test_unreadable_file(tmp_path):
    path = tmp_path / "secret.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from pipeline.capture.video_file import check_file\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        f"check_file(Path({path.name!r}), 'secret.mp4')\n"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, check=False, cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert "SourceError: secret.mp4: Permission denied" in run.stderr


DAMAGES = [
    (lambda path: path.write_bytes(path.read_bytes()[:200]), "{}: the image is damaged or cut short"),
    (lambda path: path.write_text("hello"), "{}: not a readable image"),
    (lambda path: path.write_bytes(b""), "{}: the file is empty"),
]


@pytest.mark.parametrize(("spoil", "message"), DAMAGES)
def test_damaged_image_of_a_folder_is_skipped_and_named(spoil, message, tmp_path, caplog, capfd):
    for k in range(5):
        write(tmp_path / f"{k}.png", ramp(np.uint16, start=k))
    for k in (0, 3):
        spoil(tmp_path / f"{k}.png")
    errors = [message.format(tmp_path / f"{k}.png") for k in (0, 3)]
    source = open_source(str(tmp_path), CaptureConfig(image_fps=10))
    source.open()
    grabs = [source.grab() for _ in range(3)]
    assert [(grab.frame, grab.pts, grab.picture[0, 0]) for grab in grabs] == [(1, 0.1, 1), (2, 0.2, 2), (4, 0.4, 4)]
    with pytest.raises(SourceError) as caught:
        source.grab()
    assert str(caught.value) == f"{errors[0]} (2 of 5 files skipped)"
    assert caplog.messages == [f"{error}; skipped" for error in errors]
    assert source.grab() is None
    assert "OpenCV" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: write(path, ramp(np.uint16, 41, 50)),
            "{}: picture of 50x41 px 16 bit among pictures of 50x40 px 16 bit",
        ),
        (lambda path: write(path, ramp(np.uint8)), "{}: picture of 50x40 px 8 bit among pictures of 50x40 px 16 bit"),
    ],
)
def test_image_of_another_kind_ends_the_sequence_after_the_good_ones(spoil, message, tmp_path, capfd):
    for k in range(5):
        write(tmp_path / f"{k}.png", ramp(np.uint16, start=k))
    bad = tmp_path / "3.png"
    spoil(bad)
    source = open_source(str(tmp_path), CaptureConfig())
    source.open()
    good = []
    with pytest.raises(SourceError) as caught:
        while (grab := source.grab()) is not None:
            good.append(grab)
    assert [grab.picture[0, 0] for grab in good] == [0, 1, 2]
    assert str(caught.value) == message.format(bad)
    assert capfd.readouterr().err == ""


def _first_error(address: str) -> str:
    """Return the error message of opening a source and reading one frame."""
    with pytest.raises(SourceError) as caught:
        source = open_source(address, CaptureConfig(open_timeout_s=2))
        try:
            source.open()
            source.grab()
        finally:
            source.close()
    assert one_line(caught.value) == str(caught.value)
    return re.sub(r"\d+ bytes", "N bytes", str(caught.value))
