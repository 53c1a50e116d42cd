"""Local cameras through V4L2: raw pixel values, with 16 bits per pixel if the camera offers them."""

from __future__ import annotations

import errno
import math
import os
import re
import struct
import sys
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.config import CaptureConfig
from pipeline.capture.picture import as_picture
from pipeline.capture.source import Picture
from pipeline.errors import SourceError

# Requests and structs of linux/videodev2.h.
_QUERYCAP, _CAPABILITY = 0x80685600, 104
_G_FMT, _FORMAT = (0xC0D05604, 208) if struct.calcsize("P") == 8 else (0xC0CC5604, 204)
_G_PARM, _STREAMPARM = 0xC0CC5615, 204
_CAPTURE = 1  # V4L2_CAP_VIDEO_CAPTURE and V4L2_BUF_TYPE_VIDEO_CAPTURE

_Y16, _JPEG = "Y16 ", "MJPG"
_LUMA = {"GREY": 8, "YUYV": 16, "UYVY": 16, "NV12": 12, "NV21": 12, "YU12": 12, "YV12": 12}
"""Bits per pixel of the 8-bit formats whose luma can be used unchanged."""
_BUFFERS = 2  # one is filled while the other is read; a single buffer loses every second frame
_MAX_CORRUPT = 10
"""Number of consecutive corrupt JPEG frames after which the camera is reopened; fewer are skipped."""
_REASONS = {
    errno.ENOENT: "no such camera",
    errno.ENODEV: "no such camera",
    errno.ENXIO: "no such camera",
    errno.EACCES: "no permission to open it (is the user in the group video?)",
    errno.EBUSY: "the camera is in use by another program",
    errno.EISDIR: "not a camera",
}


class Mode(NamedTuple):
    """Current mode of a camera; fields that the driver does not report are empty or 0.

    Attributes:
        pixels: FOURCC of the pixel format.
        width: picture width in px.
        height: picture height in px.
        fps: frames per second.
    """

    pixels: str
    width: int
    height: int
    fps: float


class CameraFeed:
    """An open camera, kept at the picture size and frame rate it was set to.

    Args:
        camera: index or ``/dev/videoN``.
        config: read timeout, here rounded up to whole seconds and shared by all cameras of a process.

    Raises:
        SourceError: the device does not exist, is not a camera or is in use; one line that names it.
    """

    frames, notice = 0, ""

    def __init__(self, camera: str, config: CaptureConfig) -> None:
        self._name = f"/dev/video{camera}" if camera.isdigit() else camera
        os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(math.ceil(config.read_timeout_s))
        if sys.platform == "linux":
            mode = current_mode(self._name)
            self._capture = cv2.VideoCapture(self._name, cv2.CAP_V4L2)
        else:
            mode = Mode("", 0, 0, 0)
            self._capture = cv2.VideoCapture(int(re.sub(r"\D", "", camera) or 0), cv2.CAP_ANY)
        if not self._capture.isOpened():
            raise SourceError(f"{self._name}: the camera cannot be opened, it may be in use by another program")
        # On opening, OpenCV requested 640x480 px, 30 frames/s and the first format of its own list.
        if mode.width and mode.height:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, mode.width)
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, mode.height)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)
        self._format = self._request_format(_Y16)
        if self._format != _Y16 and mode.pixels in (*_LUMA, _JPEG):
            self._format = self._request_format(mode.pixels)
        if mode.fps >= 1:
            self._capture.set(cv2.CAP_PROP_FPS, mode.fps)
        self._raw = self._format in (_Y16, *_LUMA, _JPEG)
        # Must follow the choice of the pixel format, or 16 bits are still converted to 8.
        self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0 if self._raw else 1)
        self._height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self._width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))

    def read(self) -> Picture | None:
        """Wait for the next frame, at most the read timeout per attempt.

        Returns:
            The picture; None if the camera is gone, silent, or delivers only corrupt frames.

        Raises:
            SourceError: the frames have an unsupported pixel type or size.
        """
        for _ in range(_MAX_CORRUPT):
            if not self._capture.grab():
                break
            good, image = self._capture.retrieve()
            picture: NDArray[Any] | None = image if good else None
            if good and self._raw:
                picture = unpack(image, self._format, self._height, self._width, self._name)
            if picture is not None:
                return as_picture(picture, self._name)
        return None

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()

    def _request_format(self, pixels: str) -> str:
        """Request a pixel format and return the one the camera actually uses."""
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*pixels))
        return _fourcc_text(int(self._capture.get(cv2.CAP_PROP_FOURCC)))


def unpack(buffer: NDArray[Any], pixels: str, height: int, width: int, name: str) -> Picture | None:
    """Convert a raw buffer to an (H, W) picture with unchanged values: uint16 for Y16, else the uint8 luma.

    Converting through BGR would reduce Y16 to 8 bits, and stretch and clip the luma of the other formats.

    Args:
        buffer: raw bytes in any shape; some OpenCV versions return them flat, some as 16-bit words.
        pixels: FOURCC of the pixel format.
        height: picture height in px.
        width: picture width in px.
        name: name of the camera for error messages.

    Returns:
        The picture; None if it is a damaged JPEG.

    Raises:
        SourceError: the buffer does not hold height x width pixels.
    """
    data = np.ascontiguousarray(buffer).reshape(-1).view(np.uint8)
    if pixels == _JPEG:
        picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if data.size else None
        return cast(Picture, picture) if picture is not None and picture.shape == (height, width) else None
    bits = 16 if pixels == _Y16 else _LUMA[pixels]
    area = height * width
    if buffer.dtype not in (np.uint8, np.uint16) or 8 * data.size != bits * area:
        raise SourceError(
            f"{name}: {data.size} bytes of {pixels.strip()} video do not make a picture of {width}x{height} px"
        )
    if pixels == _Y16:
        return data.view("<u2").reshape(height, width)
    if bits == 16:
        return data.reshape(height, width, 2)[..., pixels.index("Y")]
    return data[:area].reshape(height, width)


def current_mode(device: str) -> Mode:
    """Return the mode a camera is in, which is its default or was set with ``v4l2-ctl``.

    Raises:
        SourceError: not a video capture device; one line that names it.
    """
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(f"{device}: {_REASONS.get(error.errno or 0) or error.strerror}") from None
    try:
        capability = _query(descriptor, _QUERYCAP, _CAPABILITY)
        if capability is None:
            raise SourceError(f"{device}: not a camera")
        # device_caps (offset 88) distinguishes the nodes of a camera; its metadata node delivers no pictures.
        if not struct.unpack_from("I", capability, 88)[0] & _CAPTURE:
            raise SourceError(f"{device}: this device node of the camera delivers no video, try another /dev/videoN")
        picture = _query(descriptor, _G_FMT, _FORMAT)
        stream = _query(descriptor, _G_PARM, _STREAMPARM)
    finally:
        os.close(descriptor)
    width, height, pixels = struct.unpack_from("3I", picture, _FORMAT - 200) if picture else (0, 0, 0)
    numerator, denominator = struct.unpack_from("2I", stream, 12) if stream else (0, 0)
    return Mode(_fourcc_text(pixels), width, height, denominator / numerator if numerator else 0.0)


def _fourcc_text(fourcc: int) -> str:
    return (fourcc & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1")


def _query(descriptor: int, request: int, size: int) -> bytearray | None:
    """Return the driver's answer to an ioctl about video capture; None if it has none."""
    import fcntl  # noqa: PLC0415 - not available on every platform

    answer = bytearray(struct.pack("I", _CAPTURE).ljust(size, b"\0"))
    try:
        fcntl.ioctl(descriptor, request, answer)
    except OSError:
        return None
    return answer
