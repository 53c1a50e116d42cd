"""Cameras at this machine through V4L2, with 16-bit pixels where the camera has them."""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.picture import as_picture
from pipeline.capture.source import Picture
from pipeline.errors import SourceError

_Y16 = cv2.VideoWriter.fourcc(*"Y16 ")
_QUERYCAP = 0x80685600  # _IOR('V', 0, struct v4l2_capability), linux/videodev2.h
_CAPTURE = 0x1  # V4L2_CAP_VIDEO_CAPTURE
_REASONS = {
    errno.ENOENT: "no such camera",
    errno.ENODEV: "no such camera",
    errno.ENXIO: "no such camera",
    errno.EACCES: "no permission to open it (is the user in the group video?)",
    errno.EBUSY: "the camera is in use by another program",
    errno.EISDIR: "not a camera",
}


class CameraFeed:
    """An opened camera.

    Args:
        camera: index or ``/dev/videoN``.

    Raises:
        SourceError: no such device, no camera, or in use; one line that names it.
    """

    frames = 0

    def __init__(self, camera: str) -> None:
        self._name = f"/dev/video{camera}" if camera.isdigit() else camera
        if sys.platform == "linux":
            check_camera(self._name)
        index = int(re.sub(r"\D", "", os.path.realpath(self._name)) or 0)
        self._capture = cv2.VideoCapture(index, cv2.CAP_ANY if sys.platform != "linux" else cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise SourceError(f"{self._name}: the camera cannot be opened, it may be in use by another program")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._is_y16 = bool(self._capture.set(cv2.CAP_PROP_FOURCC, _Y16)) and self._fourcc() == _Y16
        # The order matters: the pixel format first, or the driver converts to 8 bits all the same.
        self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0 if self._is_y16 else 1)

    def read(self) -> Picture | None:
        """Wait for the next picture; None when the camera is gone."""
        good, image = self._capture.read()
        if not good:
            return None
        if self._is_y16:
            height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            image = as_y16(image, height, width, self._name)
        return as_picture(image, self._name)

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()

    def _fourcc(self) -> int:
        return int(self._capture.get(cv2.CAP_PROP_FOURCC))


def as_y16(image: NDArray[Any], height: int, width: int, name: str) -> NDArray[np.uint16]:
    """A raw Y16 buffer as (H, W) uint16: some OpenCV versions hand it out flat, some as bytes.

    Raises:
        SourceError: the buffer does not hold height x width pixels.
    """
    buffer = np.ascontiguousarray(image).reshape(-1).view(np.uint8)
    if image.dtype not in (np.uint8, np.uint16) or buffer.size != 2 * height * width:
        raise SourceError(f"{name}: {buffer.size} bytes of 16-bit video are no picture of {width}x{height} px")
    return buffer.view("<u2").reshape(height, width)


def check_camera(device: str) -> None:
    """Refuse what is no video capture device.

    Raises:
        SourceError: one line that names the device.
    """
    import fcntl  # noqa: PLC0415 - not on every platform

    try:
        descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(f"{device}: {_REASONS.get(error.errno or 0) or error.strerror}") from None
    answer = bytearray(104)
    try:
        fcntl.ioctl(descriptor, _QUERYCAP, answer)
    except OSError:
        raise SourceError(f"{device}: not a camera") from None
    finally:
        os.close(descriptor)
    # device_caps (offset 88) tells one node of a camera from another; its metadata node gives no pictures.
    if not int.from_bytes(answer[88:92], sys.byteorder) & _CAPTURE:
        raise SourceError(f"{device}: this device of the camera gives no video, try another /dev/videoN")
