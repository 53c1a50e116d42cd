from __future__ import annotations

import time

import numpy as np
import pytest

from pipeline.capture.config import CaptureConfig
from pipeline.capture.factory import is_live, open_source
from pipeline.capture.scene import Scene, SceneSpec
from tests.capture.conftest import read_all


@pytest.mark.parametrize(
    ("address", "live"),
    [
        ("a.mp4", False),
        ("frames/", False),
        ("*.png", False),
        ("0", True),
        ("/dev/video0", True),
        ("rtsp://h/s.mp4", True),
        ("udp://:5000", True),
        ("srt://h:1", True),
        ("http://h/video.mjpg", True),
        ("https://h/live.m3u8?x=a.mp4", True),
        ("https://h/a.MP4?token=1", False),
        ("test://sky", False),
        ("test://sky?seed=1&live=1", True),
        ("test://sky?live=0", False),
        ("zmq+tcp://127.0.0.1:1", False),
    ],
)
def test_is_live(address, live):
    assert is_live(address) is live
    assert open_source(address, CaptureConfig()).live is live


def test_name_of_a_source_shows_no_password():
    assert open_source("rtsp://u:geheim@h/s", CaptureConfig()).name == "rtsp://***@h/s"


def test_scene_gives_its_frames_with_media_time():
    url = "test://sky?frames=5&width=64&height=48&fps=50&seed=3&bit_depth=12"
    source = open_source(url, CaptureConfig())
    grabs = read_all(source)
    scene = Scene(SceneSpec.from_url(url))
    assert source.length == len(grabs) == 5
    for k, grab in enumerate(grabs):
        np.testing.assert_array_equal(grab.picture, scene.frame(k))
        assert (grab.frame, grab.pts, grab.bit_depth) == (k, k / 50, 12)


def test_live_scene_keeps_its_frame_rate():
    start = time.monotonic()
    grabs = read_all(open_source("test://sky?frames=6&width=64&height=48&fps=20&live=1", CaptureConfig()))
    # Only a lower bound: five frame intervals must pass between the first and the sixth frame.
    assert time.monotonic() - start >= 5 / 20
    assert all(grab.mono_ns - grabs[0].mono_ns == round(grab.pts * 1e9) for grab in grabs), "pts is the time of arrival"


def test_closed_scene_ends():
    source = open_source("test://sky?frames=5&width=64&height=48", CaptureConfig())
    source.open()
    assert source.grab() is not None
    source.close()
    assert source.grab() is None


def test_looping_scene_repeats_and_continues_counting():
    url = "test://sky?frames=3&width=64&height=48&fps=50&seed=3"
    source = open_source(f"{url}&loop=1", CaptureConfig())
    source.open()
    grabs = [source.grab() for _ in range(8)]
    source.close()
    scene = Scene(SceneSpec.from_url(url))
    assert source.length is None and source.grab() is None
    for k, grab in enumerate(grabs):
        np.testing.assert_array_equal(grab.picture, scene.frame(k % 3))
        assert (grab.frame, grab.pts) == (k, k / 50)
