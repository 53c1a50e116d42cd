"""The overlay as an MP4 file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, StageError
from pipeline.messages import FrameHeader

DEFAULT_FPS = 25.0
LARGEST_SIDE = 4096  # the coder ends at 8191, many players earlier
_WAIT = 6


class VideoFile:
    """Writes one video frame per frame delivered, at the rate of the medium.

    A rate must be named before the first frame is written, so the first few are held until their times
    are known. The file can be played once it is closed.

    Args:
        path: of the file; replaced if it exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: list[tuple[FrameHeader, NDArray[np.uint8]]] = []
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, header: FrameHeader, canvas: NDArray[np.uint8]) -> None:
        """Append a frame (H, W, 3), BGR, shrunk to ``LARGEST_SIDE``; other sizes are fitted into the first frame's.

        Raises:
            ConfigError: the file cannot be created.
        """
        if self._writer is not None:
            self._writer.write(self._fitted(canvas))
            return
        self._held.append((header, canvas))
        if len(self._held) == _WAIT:
            self._begin()

    def close(self) -> None:
        """Complete the file; without a frame there is none.

        Raises:
            ConfigError: the file cannot be created.
            StageError: nothing playable reached the disk.
        """
        if self._writer is None and self._held:
            self._begin()
        if self._writer is None:
            return
        self._writer.release()
        # The writer reports no error of its own: see whether the file can be opened.
        video = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        readable = video.isOpened()
        video.release()
        if not readable:
            raise StageError(f"cannot write {self.path}: the video is not complete (is the disk full?)")

    def _begin(self) -> None:
        height, width = self._held[0][1].shape[:2]
        ratio = min(1.0, LARGEST_SIDE / max(height, width))
        self._size = (_even(width * ratio), _even(height * ratio))
        rate = frame_rate([header for header, _ in self._held])
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, codec, rate, self._size)
        if not self._writer.isOpened():
            raise ConfigError(f"cannot write {self.path}: no video of {self._size[0]}x{self._size[1]} can be made here")
        for _, canvas in self._held:
            self._writer.write(self._fitted(canvas))
        self._held.clear()

    def _fitted(self, canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Shrink or enlarge to the size of the file, with black bars where the shape differs."""
        width, height = self._size
        if canvas.shape[:2] == (height, width):
            return canvas
        ratio = min(width / canvas.shape[1], height / canvas.shape[0])
        inner_size = (max(1, round(canvas.shape[1] * ratio)), max(1, round(canvas.shape[0] * ratio)))
        inner = cv2.resize(canvas, inner_size, interpolation=cv2.INTER_AREA)
        fitted = np.zeros((height, width, 3), np.uint8)
        top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
        fitted[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return fitted


def _even(side: float) -> int:
    """The even number of pixels below, at least 2, as the coder wants it."""
    return max(2, int(side) // 2 * 2)


def frame_rate(headers: list[FrameHeader]) -> float:
    """Frames per second of the medium: the median over neighbours, 1 to 240, ``DEFAULT_FPS`` if unknown."""
    rates = [
        (after.frame - before.frame) / (after.pts - before.pts)
        for before, after in pairwise(headers)
        if after.pts > before.pts and after.frame > before.frame
    ]
    return float(np.clip(round(float(np.median(rates)), 3), 1, 240)) if rates else DEFAULT_FPS
