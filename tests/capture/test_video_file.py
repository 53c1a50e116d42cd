"""Videos with known content, in the containers and pixel formats used by recordings."""

from __future__ import annotations

import re
import subprocess
import threading

import cv2
import numpy as np
import pytest

from pipeline.capture import container
from pipeline.capture.config import CaptureConfig
from pipeline.capture.video_file import VideoFileSource
from pipeline.errors import SourceError
from tests.capture.conftest import FFMPEG, cut, film, read_all
from tests.conftest import real_data

H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10")


def planes(path, pix_fmt, dtype):
    """Return the frames as decoded by ffmpeg itself."""
    command = [FFMPEG, "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", pix_fmt, "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    frame = {"yuv420p": 64 * 48 * 3 // 2, "yuvj420p": 64 * 48 * 3 // 2}.get(pix_fmt, 64 * 48)
    return np.frombuffer(raw, dtype).reshape(-1, frame)[:, : 64 * 48].reshape(-1, 48, 64)


def open_film(path, **config):
    return VideoFileSource(str(path), CaptureConfig(**config))


@pytest.mark.parametrize(
    ("name", "options", "pix_fmt", "dtype", "bits"),
    [
        ("a.mp4", H264, "yuv420p", "u1", 8),
        ("a.mov", H264, "yuv420p", "u1", 8),
        ("a.ts", H264, "yuv420p", "u1", 8),
        ("a.mkv", H264, "yuv420p", "u1", 8),
        ("gray.mp4", ("-c:v", "libx264", "-pix_fmt", "gray"), "gray", "u1", 8),
        ("a.avi", ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "3"), "yuvj420p", "u1", 8),
        ("gray.avi", ("-c:v", "rawvideo", "-pix_fmt", "gray"), "gray", "u1", 8),
        ("gray8.mkv", ("-c:v", "ffv1", "-pix_fmt", "gray"), "gray", "u1", 8),
        ("gray16.mkv", ("-c:v", "ffv1", "-pix_fmt", "gray16le"), "gray16le", "<u2", 16),
    ],
)
def test_pictures_are_the_stored_luma_exactly(name, options, pix_fmt, dtype, bits, tmp_path):
    path = film(tmp_path / name, *options)
    grabs = read_all(open_film(path))
    expected = planes(path, pix_fmt, dtype)
    assert len(grabs) == len(expected) == 20
    for k, grab in enumerate(grabs):
        np.testing.assert_array_equal(grab.picture, expected[k])
        assert grab.picture.dtype == np.dtype(dtype)
        assert grab.picture.flags.c_contiguous
        assert (grab.frame, grab.bit_depth) == (k, bits)
        assert grab.pts == pytest.approx(k / 25, abs=1e-3)


@pytest.mark.parametrize("options", [("-c:v", "png"), ("-c:v", "rawvideo", "-pix_fmt", "bgr24")])
def test_colour_without_a_luma_plane_becomes_luma(options, tmp_path):
    path = film(tmp_path / "a.avi", *options, frames=3)
    capture = cv2.VideoCapture(str(path))
    for grab in read_all(open_film(path)):
        np.testing.assert_array_equal(grab.picture, cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY))


def test_bit_depth_of_16_bit_video_is_configurable(tmp_path):
    path = film(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "gray16le", frames=1)
    assert read_all(open_film(path, bit_depth=14))[0].bit_depth == 14


def test_bit_depth_does_not_concern_8_bit_video(tmp_path):
    path = film(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "gray", frames=1)
    assert read_all(open_film(path, bit_depth=14))[0].bit_depth == 8


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "bits"),
    [
        ("a.mkv", "ffv1", "gray10le", 10),
        ("a.mkv", "ffv1", "gray12le", 12),
        ("a.mov", "png", "gray16be", 16),
        ("a.mkv", "ffv1", "yuv420p10le", 10),
    ],
)
def test_notice_reports_reduction_to_8_bit(name, codec, pix_fmt, bits, tmp_path):
    path = film(tmp_path / name, "-c:v", codec, "-pix_fmt", pix_fmt, frames=2)
    source = open_film(path)
    assert [grab.picture.dtype for grab in read_all(source)] == [np.uint8, np.uint8]
    assert source.notice == f"{path}: stored with {bits} bits a pixel, which OpenCV reads as 8"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fast.mp4", (*H264, "-movflags", "+faststart"), "the file is cut short, {n} of 50 frames could be read"),
        (
            "frag.mp4",
            (*H264, "-movflags", "frag_keyframe+empty_moov"),
            "the file is cut short, {n} frames could be read",
        ),
        ("a.mkv", H264, "the file is cut short, {n} of 50 frames could be read"),
        ("a.avi", ("-c:v", "mjpeg"), "the file is cut short, {n} of 50 frames could be read"),
    ],
)
def test_film_cut_short_gives_its_good_frames_then_an_error(name, options, message, tmp_path, capfd):
    path = cut(film(tmp_path / name, *options, frames=50), 0.7)
    source = open_film(path)
    source.open()
    frames = []
    with pytest.raises(SourceError) as caught:
        while (grab := source.grab()) is not None:
            frames.append(grab.frame)
    source.close()
    assert 0 < len(frames) < 50
    assert frames == list(range(len(frames)))
    assert str(caught.value) == f"{path}: {message.format(n=len(frames))}"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["fast.mp4", "frag.mp4", "a.mkv", "a.avi", "a.ts"])
def test_complete_film_is_not_called_damaged(name, tmp_path):
    flags = {"fast.mp4": "+faststart", "frag.mp4": "frag_keyframe+empty_moov"}.get(name)
    path = film(tmp_path / name, *H264, *(("-movflags", flags) if flags else ()), frames=50)
    assert container.missing_bytes(path) == 0
    assert len(read_all(open_film(path))) == 50


def test_film_trimmed_without_encoding_is_not_called_damaged(tmp_path):
    """Such a file stores more frames than it shows: its frame count does not tell its length."""
    whole = film(tmp_path / "a.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "50", frames=100)
    trimmed = tmp_path / "trimmed.mp4"
    subprocess.run([FFMPEG, "-v", "error", "-ss", "1.3", "-i", whole, "-c", "copy", trimmed], check=True)
    source = open_film(trimmed)
    grabs = read_all(source)
    assert len(grabs) < source.length
    assert len(grabs) == pytest.approx(container.duration(trimmed) * 25, abs=1)


def damage(path, begin, end):
    """Overwrite a part of the pictures of an MP4 file, from 0 to 1."""
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    begin, end = (start + round(share * (len(data) - start)) for share in (begin, end))
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)


def test_film_damaged_up_to_its_end_is_an_error_where_frames_are_missing(tmp_path):
    path = film(tmp_path / "a.mp4", *H264, "-movflags", "+faststart", frames=50)
    damage(path, 0.25, 1.0)
    with pytest.raises(SourceError, match=r"a.mp4: the file is damaged, \d+ of 50 frames could be read"):
        read_all(open_film(path))


def test_film_damaged_inside_gives_all_of_its_good_frames_then_an_error(tmp_path, caplog, capfd):
    options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-bf", "0", "-movflags", "+faststart")
    path = film(tmp_path / "a.mp4", *options, frames=100)
    whole = read_all(open_film(path))
    for begin in (0.3, 0.7):
        damage(path, begin, begin + 0.1)
    source, grabs = open_film(path), []
    source.open()
    with pytest.raises(SourceError) as caught:
        while (grab := source.grab()) is not None:
            grabs.append(grab)
    source.close()
    assert 60 < len(grabs) < 100
    assert str(caught.value) == f"{path}: the file is damaged, {len(grabs)} of 100 frames could be read"
    assert [grab.frame for grab in grabs] == list(range(len(grabs)))
    by_time = {round(grab.pts, 3): grab.picture for grab in whole}
    assert grabs[-1].pts == whole[-1].pts
    assert sum(np.array_equal(grab.picture, by_time[round(grab.pts, 3)]) for grab in grabs) > 50
    (warned,) = caplog.messages
    assert re.fullmatch(r".*/a.mp4: damaged after (0.[89]|1.\d)\d s; skipped", warned)
    assert capfd.readouterr().err == ""


def test_media_time_of_a_variable_frame_rate(tmp_path):
    path = film(tmp_path / "a.mkv", "-vf", "select='not(mod(n,3))'", "-fps_mode", "vfr", "-c:v", "ffv1", frames=5)
    assert [grab.pts for grab in read_all(open_film(path))] == pytest.approx([0, 0.12, 0.24, 0.36, 0.48], abs=1e-3)


def test_media_time_never_stands_still_or_runs_backwards(tmp_path):
    # H.264 with reordered frames in AVI: its timestamps jump to zero at the end.
    path = film(tmp_path / "a.avi", "-c:v", "libx264", "-pix_fmt", "yuv420p", frames=50)
    times = [grab.pts for grab in read_all(open_film(path))]
    assert times[0] == 0
    assert (np.diff(times) > 0).all()


def test_close_does_not_wait_for_the_picture_that_is_being_read(tmp_path):
    source = open_film(film(tmp_path / "a.mp4", frames=3))
    source.open()
    with source._lock:  # held like this by a grab whose disk hangs
        closer = threading.Thread(target=source.close, daemon=True)
        closer.start()
        closer.join(10)
        assert not closer.is_alive()
    assert source.grab() is None
    assert source.state == "closed"


def test_close_from_another_thread_ends_reading(tmp_path):
    path = film(tmp_path / "a.mp4", *H264, frames=200)
    source = open_film(path)
    source.open()
    read = []

    def reader():
        while (grab := source.grab()) is not None:
            read.append(grab)
            started.set()

    started = threading.Event()
    thread = threading.Thread(target=reader)
    thread.start()
    started.wait(10)
    source.close()
    source.close()
    thread.join(10)
    assert not thread.is_alive()
    assert source.state == "closed"
    assert source.grab() is None


def test_a_file_can_have_any_name(tmp_path):
    path = film(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "gray", frames=2)
    odd = path.rename(tmp_path / "50% naïve: [1] %03d.mkv")
    assert len(read_all(open_film(odd))) == 2


@pytest.mark.parametrize("clip", ["drone_ir/IR_DRONE_014", "anti_uav410/20190925_101846_1_4"])
def test_real_recordings_hold_what_they_declare(clip):
    path = real_data("video", f"{clip}.mp4")
    source = open_film(path)
    grabs = read_all(source)
    assert len(grabs) == source.length
    assert grabs[0].pts == 0
    assert (np.diff([grab.pts for grab in grabs]) > 0).all()
