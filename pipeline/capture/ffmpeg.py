"""Decode a file or stream with OpenCV's FFmpeg backend to gray frames in native bit depth."""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.capture.picture import as_picture, bits_in_use
from pipeline.capture.source import Grab

FALLBACK_FPS = 25.0

# FFmpeg's tags of the pixel formats whose first plane is 8-bit luma.
_LUMA_8 = frozenset(("Y800", "I420", "IYUV", "YV12", "NV12", "NV21", "Y42B", "422P", "444P", "411P", "Y41B", "YUV9"))
_GRAY_16 = "Y1\x00\x10"


class Decoder:
    """An FFmpeg medium. Check ``opened`` before use.

    The luma plane is used as stored. Converting to BGR would stretch it, clip it and reduce it to 8 bits. Only
    formats without a luma plane are converted from BGR.

    Args:
        address: file name or URL.
        name: name of the medium for error messages.
        bit_depth: number of bits used in 16-bit pixels, if fewer than 16.
        parameters: OpenCV open parameters as a flat list of pairs.

    Attributes:
        opened: whether the medium could be opened.
        interval: declared frame interval in seconds; 1 / ``FALLBACK_FPS`` if not declared.
        frames: declared number of frames; 0 if not declared (live streams).
        notice: one line if OpenCV reduces the bit depth, else empty.
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
        """Return the next frame with its media time; None at the end or on a timeout.

        Raises:
            SourceError: the frame has an unsupported pixel type or size.
        """
        good, image = self._capture.read()
        if not good:
            return None
        picture, seconds = as_picture(image, self._name), self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        frame, self._frame = self._frame, self._frame + 1
        if frame == 0:
            self._start = seconds
        # Timestamps in files may repeat or run backwards; media time must increase.
        elapsed = seconds - self._start
        self._pts = elapsed if frame == 0 or elapsed > self._pts else self._pts + self.interval
        bits = bits_in_use(picture, self._bit_depth)
        return Grab(picture, frame, self._pts, time.monotonic_ns(), time.time_ns(), bits)

    def close(self) -> None:
        """Release the medium."""
        self._capture.release()


def _deep_bits(tag: str) -> int:
    """Return the bits per pixel of a gray or YUV format with more than 8 bits, from its tag; 0 for others."""
    ordered = tag if tag[0] == "Y" else tag[::-1]  # tags of big-endian formats are reversed
    return ord(ordered[3]) if ordered[0] == "Y" and 8 < ord(ordered[3]) <= 16 else 0
