from __future__ import annotations

import numpy as np
import pytest

from pipeline.capture.camera import CameraFeed, as_y16
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
def test_what_is_no_camera_is_named(device, message):
    with pytest.raises(SourceError) as caught:
        CameraFeed(device)
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
    picture = as_y16(shape(image), 3, 4, "cam")
    np.testing.assert_array_equal(picture, image)
    assert (picture.dtype, picture.shape) == (np.uint16, (3, 4))


@pytest.mark.parametrize(
    "buffer", [np.zeros((3, 4), np.uint8), np.zeros((3, 4, 3), np.uint8), np.zeros((3, 3), np.uint16)]
)
def test_a_buffer_of_another_size_is_refused(buffer):
    with pytest.raises(SourceError, match=r"cam: .* bytes of 16-bit video are no picture of 4x3 px"):
        as_y16(buffer, 3, 4, "cam")
