"""A medium decoded by OpenCV's FFmpeg, file or stream: gray pictures in native depth."""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.capture.picture import as_picture, bits_in_use
from pipeline.capture.source import Grab

FALLBACK_FPS = 25.0

# FFmpeg's tags of the pixel formats whose first plane is the luma, 8 bits a pixel.
_LUMA_8 = frozenset(("Y800", "I420", "IYUV", "YV12", "NV12", "NV21", "Y42B", "422P", "444P", "411P", "Y41B", "YUV9"))
_GRAY_16 = "Y1\x00\x10"


class Decoder:
    """An FFmpeg medium. Check ``opened`` before use.

    The luma plane is taken as stored, without a detour over BGR, which would stretch it, clip it and cut
    it to 8 bits. Formats without a luma plane go through BGR.

    Args:
        address: file name or URL.
        name: for messages.
        bit_depth: bits in use of pictures with 16-bit pixels, if fewer.
        parameters: pairs of OpenCV open parameters, flat.

    Attributes:
        opened: the medium could be opened.
        interval: seconds from picture to picture as declared, 1 / ``FALLBACK_FPS`` if not.
        frames: number of frames as declared, 0 if not (live streams).
        notice: a line about bits that OpenCV takes away; empty where it takes none.
    """

    notice = ""

    def __init__(self, address: str, name: str, bit_depth: int | None, parameters: Sequence[int] = ()) -> None:
        self._name, self._bit_depth = name, bit_depth
        self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, list(parameters))
        self.opened = self._capture.isOpened()
        fps, frames = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.interval = 1 / (fps if np.isfinite(fps) and 0 < fps <= 10_000 else FALLBACK_FPS)
        self.frames = int(frames) if 0 < frames < 2**53 else 0
        self._frame = 0
        self._start = self._pts = 0.0
        tag = int(self._capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)) & 0xFFFFFFFF
        pixels = tag.to_bytes(4, "little").decode("latin-1")
        if pixels in _LUMA_8 or pixels == _GRAY_16:
            self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        elif bits := _deep_bits(pixels):
            self.notice = f"{name}: stored with {bits} bits a pixel, which OpenCV reads as 8"

    def read(self) -> Grab | None:
        """The next picture with its media time; None at the end or on a time-out.

        Raises:
            SourceError: the picture is of a kind or size that cannot be used.
        """
        good, image = self._capture.read()
        if not good:
            return None
        picture, seconds = as_picture(image, self._name), self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        frame, self._frame = self._frame, self._frame + 1
        if frame == 0:
            self._start = seconds
        # Clocks of files may stand still or run backwards; media time does not.
        elapsed = seconds - self._start
        self._pts = elapsed if frame == 0 or elapsed > self._pts else self._pts + self.interval
        bits = bits_in_use(picture, self._bit_depth)
        return Grab(picture, frame, self._pts, time.monotonic_ns(), time.time_ns(), bits)

    def close(self) -> None:
        """Release the medium."""
        self._capture.release()


def _deep_bits(tag: str) -> int:
    """Bits per pixel of a gray or YUV format of more than 8 bits, from its tag; 0 for others."""
    ordered = tag if tag[0] == "Y" else tag[::-1]  # big-endian formats have their tag reversed
    return ord(ordered[3]) if ordered[0] == "Y" and 8 < ord(ordered[3]) <= 16 else 0
