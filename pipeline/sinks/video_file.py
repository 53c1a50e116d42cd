"""The overlay as an MP4 file that is playable while it is being written, and after any crash."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, StageError
from pipeline.messages import FrameHeader
from pipeline.sinks import mp4

FRAGMENT_S = 1.0
MOST_FRAMES = 240  # per fragment
DEFAULT_DURATION_S = 1 / 25
SHORTEST_S, LONGEST_S = 1e-4, 10.0
LARGEST_SIDE = 4096  # the encoder supports up to 8191, many players less
PROBE_BYTES = 4096  # more than the encoder writes at first
NOMINAL_FPS = 25.0  # used by the encoder for rate control only; frame times are in the container


class OverlayVideo:
    """Writes one video frame per delivered frame, with the presentation times of the medium.

    About one second of frames is encoded to a temporary file next to the video and then appended as a fragment, so that
    everything complete on disk is playable.

    Args:
        path: path of the file; an existing file is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # The name is the same after a restart, so that leftovers of the previous process are removed.
        self._part = path.with_name(f".{path.name.partition('.')[0]}.part.mp4")
        self._part.unlink(missing_ok=True)
        self._file: IO[bytes] | None = None
        self._coder: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._pts: list[float] = []
        self._fragments = 0
        self._shown = 0  # in 1/90,000 s
        self._shown_s = 0.0
        self._duration_s = DEFAULT_DURATION_S

    def write(self, header: FrameHeader, canvas: NDArray[np.uint8]) -> None:
        """Append a frame.

        The first frame sets the size of the video, shrunk to at most ``LARGEST_SIDE``. Frames of other sizes are fitted
        into it.

        Args:
            header: header of the frame, with its media time.
            canvas: (H, W, 3) BGR image.

        Raises:
            ConfigError: the file cannot be created.
            StageError: a fragment cannot be written, or the next one cannot be started.
        """
        if self._file is None:
            height, width = canvas.shape[:2]
            ratio = min(1.0, LARGEST_SIDE / max(height, width))
            self._size = (_even(width * ratio), _even(height * ratio))
            try:
                self._file = self.path.open("wb", buffering=0)
            except OSError as error:
                raise ConfigError(f"cannot write {self.path}: {error.strerror}") from None
        if self._pts and not (abs(header.pts - self._pts[0]) < FRAGMENT_S and len(self._pts) < MOST_FRAMES):
            self._finish_fragment(header.pts)
        if self._coder is None:
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._coder = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, codec, NOMINAL_FPS, self._size)
            if not self._coder.isOpened():
                raise self._refusal()
        self._coder.write(self._fitted(canvas))
        self._pts.append(header.pts)

    def close(self) -> None:
        """Complete the file. If no frame was written, there is no file.

        Raises:
            StageError: the last fragment cannot be written.
        """
        if self._pts:
            self._finish_fragment(None)
        if self._file is not None:
            self._file.close()

    def _finish_fragment(self, next_pts: float | None) -> None:
        """Append the encoded frames to the file; the last of them lasts until ``next_pts``."""
        assert self._file is not None
        assert self._coder is not None
        durations = self._durations(next_pts)
        self._coder.release()
        self._coder = None
        self._pts.clear()
        try:
            clip = mp4.parse_clip(self._part.read_bytes())
            self._part.unlink()
            start = b"" if self._fragments else mp4.init_segment(clip.description, *self._size)
            self._fragments += 1
            _append(self._file, start + mp4.fragment(clip, self._fragments, self._shown, durations))
        except (OSError, ValueError) as error:
            self._part.unlink(missing_ok=True)
            reason = error.strerror if isinstance(error, OSError) else f"{error} (is the disk full?)"
            raise StageError(f"cannot write {self.path}: {reason}") from None
        self._shown += sum(durations)

    def _refusal(self) -> ConfigError | StageError:
        """Return the error for an encoder that did not open, which OpenCV does not explain."""
        try:
            self._part.write_bytes(bytes(PROBE_BYTES))
        except OSError as error:
            return StageError(f"cannot write {self.path}: {error.strerror}")
        finally:
            with suppress(OSError):
                self._part.unlink()
        width, height = self._size
        return ConfigError(f"cannot write {self.path}: a video of {width}x{height} px cannot be encoded here")

    def _durations(self, next_pts: float | None) -> list[int]:
        """Return the duration of every frame in 1/90,000 s.

        Where media time stands still, runs backwards or jumps, the previous duration is repeated. Not the durations are
        rounded but the times at which frames end: otherwise the error of one frame would add up to seconds in a day.
        """
        ends = [self._shown]
        for before, after in zip(self._pts, [*self._pts[1:], next_pts], strict=True):
            if after is not None and 0 < after - before <= LONGEST_S:
                self._duration_s = max(after - before, SHORTEST_S)
            self._shown_s += self._duration_s
            ends.append(round(self._shown_s * mp4.TIMESCALE))
        return [after - before for before, after in pairwise(ends)]

    def _fitted(self, canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale to the size of the file, with black bars if the aspect ratio differs."""
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


def _append(file: IO[bytes], data: bytes) -> None:
    """Write all of the data or, as far as the disk permits, none of it; raises OSError."""
    before, rest = file.tell(), memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        file.truncate(before)
        raise


def _even(side: float) -> int:
    """Round down to an even number of pixels, at least 2, as required by the encoder."""
    return max(2, int(side) // 2 * 2)
