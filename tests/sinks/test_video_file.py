from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError, StageError
from pipeline.sinks.video_file import DEFAULT_FPS, VideoFile, frame_rate
from tests.messages import frame_header
from tests.sinks.files import read_video


def header(frame, fps=25.0):
    return frame_header((64, 80), seq=frame, pts=frame / fps)


def numbered(i, shape=(64, 80)):
    """A picture that says its number in brightness."""
    return np.full((*shape, 3), 20 + 8 * i, np.uint8)


def write(path, pictures, fps=25.0):
    video = VideoFile(path)
    for i, picture in enumerate(pictures):
        video.write(header(i, fps), picture)
    video.close()


@pytest.mark.parametrize("count", [1, 5, 6, 7, 25])
def test_all_frames_read_back_in_order_at_the_rate_of_the_medium(tmp_path, count):
    write(tmp_path / "overlay.mp4", [numbered(i) for i in range(count)], fps=12.5)
    frames, fps = read_video(tmp_path / "overlay.mp4")
    assert [round((float(f.mean()) - 20) / 8) for f in frames] == list(range(count))
    assert fps == pytest.approx(12.5 if count > 1 else DEFAULT_FPS, rel=1e-3)


@pytest.mark.parametrize("shape", [(2, 2), (56, 32), (2160, 4096)])
def test_tiny_and_huge_pictures(tmp_path, shape):
    write(tmp_path / "overlay.mp4", [numbered(i, shape) for i in range(2)])
    frames, _ = read_video(tmp_path / "overlay.mp4")
    assert [f.shape for f in frames] == [(*shape, 3)] * 2


@pytest.mark.parametrize(
    ("shape", "expected"), [((600, 9000), (272, 4096)), ((16384, 40), (4096, 10)), ((33, 47), (32, 46))]
)
def test_what_no_coder_takes_is_shrunk(tmp_path, shape, expected):
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
    VideoFile(tmp_path / "overlay.mp4").close()
    assert not (tmp_path / "overlay.mp4").exists()


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot write .*absent/overlay\.mp4"):
        write(tmp_path / "absent" / "overlay.mp4", [numbered(0)])


def test_a_video_that_did_not_reach_the_disk_is_an_error(tmp_path):
    path = tmp_path / "overlay.mp4"
    video = VideoFile(path)
    for i in range(8):
        video.write(header(i), numbered(i))
    path.unlink()
    with pytest.raises(StageError, match=r"cannot write .*overlay\.mp4: the video is not complete"):
        video.close()


@pytest.mark.parametrize(
    ("frames", "fps", "expected"),
    [
        ([0, 1, 2], 25.0, 25.0),
        ([0, 2, 3, 7], 30.0, 30.0),  # dropped frames do not change the rate of the medium
        ([4], 25.0, DEFAULT_FPS),
        ([], 25.0, DEFAULT_FPS),
        ([0, 1], 0.2, 1.0),
        ([0, 1], 9000.0, 240.0),
    ],
)
def test_rates_by_hand(frames, fps, expected):
    assert frame_rate([header(i, fps) for i in frames]) == pytest.approx(expected, abs=1e-3)


def test_times_that_stand_still_or_run_back_say_nothing():
    frozen = header(0)
    assert frame_rate([frozen, frozen]) == DEFAULT_FPS
    assert frame_rate([header(3), header(1)]) == DEFAULT_FPS
