from __future__ import annotations

import resource
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from pipeline.errors import ConfigError, StageError
from pipeline.sinks.video_file import OverlayVideo
from tests.messages import frame_header
from tests.sinks.files import read_video


def header(frame, fps=25.0):
    return frame_header((64, 80), seq=frame, pts=frame / fps)


def numbered(i, shape=(64, 80)):
    """Return a picture that encodes its number as brightness."""
    return np.full((*shape, 3), 20 + 8 * i, np.uint8)


def write(path, pictures, fps=25.0):
    video = OverlayVideo(path)
    for i, picture in enumerate(pictures):
        video.write(header(i, fps), picture)
    video.close()


@pytest.mark.parametrize("count", [1, 5, 6, 7, 25])
def test_all_frames_read_back_in_order_at_the_rate_of_the_medium(tmp_path, count):
    write(tmp_path / "overlay.mp4", [numbered(i) for i in range(count)], fps=12.5)
    frames, fps = read_video(tmp_path / "overlay.mp4")
    assert [round((float(f.mean()) - 20) / 8) for f in frames] == list(range(count))
    assert fps == pytest.approx(12.5 if count > 1 else 25.0, rel=1e-3)


@pytest.mark.parametrize("shape", [(2, 2), (56, 32), (2160, 4096)])
def test_tiny_and_huge_pictures(tmp_path, shape):
    write(tmp_path / "overlay.mp4", [numbered(i, shape) for i in range(2)])
    frames, _ = read_video(tmp_path / "overlay.mp4")
    assert [f.shape for f in frames] == [(*shape, 3)] * 2


@pytest.mark.parametrize(
    ("shape", "expected"), [((600, 9000), (272, 4096)), ((16384, 40), (4096, 10)), ((33, 47), (32, 46))]
)
def test_sizes_beyond_the_encoder_limit_are_shrunk(tmp_path, shape, expected):
    write(tmp_path / "overlay.mp4", [numbered(3, shape)])
    (frame,), _ = read_video(tmp_path / "overlay.mp4")
    assert frame.shape == (*expected, 3)
    assert frame.mean() == pytest.approx(44, abs=6)


def test_a_picture_of_another_size_is_fitted_with_bars(tmp_path):
    write(tmp_path / "overlay.mp4", [numbered(20, (64, 80)), numbered(20, (64, 160))])
    _, second = read_video(tmp_path / "overlay.mp4")[0]
    assert second.shape == (64, 80, 3)
    assert second[24:40].mean() == pytest.approx(180, abs=6)
    assert second[:10].mean() < 10
    assert second[-10:].mean() < 10


def test_without_frames_there_is_no_file(tmp_path):
    OverlayVideo(tmp_path / "overlay.mp4").close()
    assert not (tmp_path / "overlay.mp4").exists()


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot write .*absent/overlay\.mp4"):
        write(tmp_path / "absent" / "overlay.mp4", [numbered(0)])


def test_full_disk_is_reported_at_once_and_keeps_earlier_fragments(tmp_path):
    path = tmp_path / "overlay.mp4"
    video = OverlayVideo(path)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 80, 3)).astype(np.uint8) for _ in range(30)]
    for i in range(26):
        video.write(header(i), noise[i])
    first = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (first + 100, hard))
    try:
        with pytest.raises(StageError, match=r"cannot write .*overlay\.mp4: .*"):
            for i in range(26, 60):
                video.write(header(i), noise[i % 30])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(read_video(path)[0]) == 25
    assert {p.name for p in tmp_path.iterdir()} == {"overlay.mp4"}


def test_fragment_that_cannot_be_started_reports_the_reason(tmp_path):
    video = OverlayVideo(tmp_path / "overlay.mp4")
    (tmp_path / ".overlay.part.mp4").mkdir()  # blocks the encoder, like a full disk
    with pytest.raises(StageError, match=r"cannot write .*overlay\.mp4: Is a directory"):
        video.write(header(0), numbered(1))
    video.close()


def test_frames_have_the_media_time_of_the_source(tmp_path):
    """Dropped frames leave a gap; where the clock stands still or jumps, the last frame interval is repeated."""
    shown = shown_ms(tmp_path / "overlay.mp4", [0.0, 0.04, 0.08, 0.4, 0.44, 0.44, 1000.0, 1000.04])
    assert shown == pytest.approx([0, 40, 80, 400, 440, 480, 520, 560], abs=0.1)


def test_high_frame_rates_keep_their_timing(tmp_path):
    """Also across fragments; frames with almost equal times are still kept apart."""
    shown = shown_ms(tmp_path / "overlay.mp4", [i / 1000 for i in range(300)])
    assert shown == pytest.approx(range(300), abs=0.1)
    assert shown_ms(tmp_path / "close.mp4", [0.0, 1e-6, 0.04]) == pytest.approx([0, 0.1, 40.1], abs=0.02)


def test_rounding_of_frame_times_does_not_add_up(tmp_path):
    """At 60.1 frames/s a frame lasts 1497.5 units of the file, so a rounded duration is half a unit too long."""
    shown = shown_ms(tmp_path / "overlay.mp4", [i / 60.1 for i in range(300)])
    assert shown == pytest.approx([1000 * i / 60.1 for i in range(300)], abs=0.1)


def shown_ms(path, pts):
    """Return the presentation time in ms of frames with the given media times."""
    video = OverlayVideo(path)
    for i, at in enumerate(pts):
        video.write(frame_header((64, 80), seq=i, pts=at), numbered(i % 25))
    video.close()
    reader, times = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while reader.read()[0]:
        times.append(reader.get(cv2.CAP_PROP_POS_MSEC))
    return times


WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
import numpy as np
from pipeline.sinks.video_file import OverlayVideo
from tests.messages import frame_header
video = OverlayVideo(Path(sys.argv[1]))
for i in range(int(sys.argv[2])):
    video.write(frame_header((64, 80), seq=i, pts=i / 25), np.full((64, 80, 3), 20 + 2 * i, np.uint8))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("count", [26, 60, 99])
def test_killed_writer_loses_at_most_one_second_of_video(tmp_path, count):
    path = tmp_path / "overlay.mp4"
    killed = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(path), str(count)], check=False)
    assert killed.returncode == -signal.SIGKILL
    frames, fps = read_video(path)
    assert count - 25 <= len(frames) < count
    assert [float(f.mean()) for f in frames] == pytest.approx([20 + 2 * i for i in range(len(frames))], abs=5)
    assert fps == pytest.approx(25)
    OverlayVideo(tmp_path / "overlay.2.mp4").close()  # removes the temporary file left by the killed process
    assert {p.name for p in tmp_path.iterdir()} == {"overlay.mp4"}
