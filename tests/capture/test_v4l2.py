"""Cameras through OpenCV's real V4L2 backend in separate processes: pixels, size, rate, errors, loss."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.capture.v4l2 import DEVICE, Camera, drawn
from tests.conftest import ROOT

READ = """
import sys
from pipeline.opencv import require_opencv
require_opencv()
import numpy as np
from pipeline.capture.config import CaptureConfig
from pipeline.capture.factory import open_source
from pipeline.errors import SourceError
source = open_source(sys.argv[1], CaptureConfig(read_timeout_s=0.7))
try:
    source.open()
    grabs = [source.grab() for _ in range(int(sys.argv[3]))]
except SourceError as error:
    sys.exit(str(error))
finally:
    source.close()
assert {grab.bit_depth for grab in grabs} == {8 * grabs[0].picture.itemsize}
np.save(sys.argv[2], [grab.picture for grab in grabs])
"""


def read(camera: Camera, folder: Path, address: str = DEVICE, pictures: int = 3) -> np.ndarray:
    """Return frames that a process reads from the camera; RuntimeError with its standard error output if it fails."""
    kept = folder / "pictures.npy"
    command = [sys.executable, "-c", READ, address, str(kept), str(pictures)]
    environment = {**os.environ, **camera.environment}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode or done.stderr:
        raise RuntimeError(done.stderr.rstrip())
    return np.load(kept)


def test_16_bit_values_arrive_unchanged_where_y16_is_offered(tmp_path: Path) -> None:
    pictures = read(Camera(tmp_path, "YUYV", "Y16"), tmp_path)
    numbers = pictures[:, 0, 0] >> 8
    assert pictures.dtype == np.uint16
    np.testing.assert_array_equal(pictures, [drawn(int(number)) for number in numbers])
    assert len(np.unique(pictures % 256)) == 256, "no 8-bit step on the way"


@pytest.mark.parametrize("name", ["GREY", "YUYV", "NV12", "BGR3"])
def test_8_bit_luma_arrives_unchanged_where_it_is_not(tmp_path: Path, name: str) -> None:
    pictures = read(Camera(tmp_path, name), tmp_path)
    numbers = pictures[:, 0, 0]
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, [drawn(int(number)) >> 8 for number in numbers])


def test_jpeg_camera_keeps_its_format_and_skips_damaged_frames(tmp_path: Path) -> None:
    camera = Camera(tmp_path, "MJPG", "YUYV")
    camera.control.damaged = 1
    good, jpeg = cv2.imencode(".jpg", (drawn(0) >> 8).astype(np.uint8))
    assert good
    camera.control.jpeg[: jpeg.size] = jpeg.tobytes()
    camera.control.jpeg_bytes = jpeg.size
    expected = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(read(camera, tmp_path), [expected] * 3)


def test_camera_keeps_its_size_and_rate_and_loses_nothing(tmp_path: Path) -> None:
    camera = Camera(tmp_path, "YUYV", "Y16", rate=40, size=(1280, 64))
    pictures = read(camera, tmp_path, pictures=8)
    assert pictures.shape == (8, 64, 1280)
    assert camera.control.rate == 40
    assert 1 in np.diff(pictures[:, 0, 0].astype(int) >> 8), "pictures that follow each other"


def test_silent_camera_times_out_after_read_timeout(tmp_path: Path) -> None:
    camera = Camera(tmp_path, "Y16")
    camera.control.silent = 1
    with pytest.raises(RuntimeError, match=r"^/dev/video77: opened, but delivers no frame within 0\.7 s"):
        read(camera, tmp_path)
    assert camera.control.patience_s == 1


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("busy", "the camera cannot be opened, it may be in use by another program"),
        ("metadata", "this device node of the camera delivers no video, try another /dev/videoN"),
    ],
)
def test_error_explains_why_a_camera_cannot_be_used(tmp_path: Path, trouble: str, message: str) -> None:
    camera = Camera(tmp_path, "Y16")
    setattr(camera.control, trouble, 1)
    with pytest.raises(RuntimeError) as caught:
        read(camera, tmp_path)
    assert str(caught.value) == f"{DEVICE}: {message}"
