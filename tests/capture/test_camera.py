from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.capture.camera import CameraFeed, unpack
from pipeline.capture.config import CaptureConfig
from pipeline.errors import SourceError


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("/dev/video97", "/dev/video97: no such camera"),
        ("97", "/dev/video97: no such camera"),
        ("/dev/null", "/dev/null: not a camera"),
        ("/dev", "/dev: not a camera"),
        (__file__, f"{__file__}: not a camera"),
    ],
)
def test_error_names_a_device_that_is_not_a_camera(device, message):
    with pytest.raises(SourceError) as caught:
        CameraFeed(device, CaptureConfig())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "shape",
    [
        lambda image: image,
        lambda image: image.reshape(1, -1),
        lambda image: image[..., None],
        lambda image: image.view(np.uint8),
        lambda image: image.view(np.uint8).reshape(1, -1),
        lambda image: image.view(np.uint8).reshape(3, 4, 2),
    ],
)
def test_raw_16_bit_buffers_of_all_opencv_versions_become_pictures(shape):
    image = np.arange(12, dtype="<u2").reshape(3, 4) * 5000
    picture = unpack(shape(image), "Y16 ", 3, 4, "cam")
    np.testing.assert_array_equal(picture, image)
    assert (picture.dtype, picture.shape) == (np.uint16, (3, 4))


@pytest.mark.parametrize(
    "buffer", [np.zeros((3, 4), np.uint8), np.zeros((3, 4, 3), np.uint8), np.zeros((3, 3), np.uint16)]
)
def test_a_buffer_of_another_size_is_refused(buffer):
    with pytest.raises(SourceError, match=r"cam: .* bytes of Y16 video do not make a picture of 4x3 px"):
        unpack(buffer, "Y16 ", 3, 4, "cam")


def test_luma_of_a_jpeg_picture_of_the_right_size():
    luma = np.full((32, 48), 7, np.uint8)
    jpeg = cv2.imencode(".jpg", luma)[1]
    np.testing.assert_array_equal(unpack(jpeg, "MJPG", 32, 48, "cam"), luma)
    assert unpack(jpeg, "MJPG", 48, 32, "cam") is None
    assert unpack(jpeg[2:], "MJPG", 32, 48, "cam") is None
    assert unpack(jpeg[:0], "MJPG", 32, 48, "cam") is None


def test_luma_of_packed_and_planar_video():
    luma = np.arange(8, dtype=np.uint8).reshape(2, 4)
    chroma = np.full((2, 4), 90, np.uint8)
    buffers = {
        "GREY": luma,
        "YUYV": np.dstack([luma, chroma]),
        "UYVY": np.dstack([chroma, luma]),
        **{name: np.vstack([luma, chroma[:1]]) for name in ("NV12", "NV21", "YU12", "YV12")},
    }
    for name, buffer in buffers.items():
        np.testing.assert_array_equal(unpack(buffer, name, 2, 4, "cam"), luma)
        np.testing.assert_array_equal(unpack(buffer.reshape(1, -1), name, 2, 4, "cam"), luma)
