"""Image folders, glob patterns and multi-page TIFF stacks, read in natural order."""

from __future__ import annotations

import glob
import logging
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.address import IMAGE_SUFFIXES
from pipeline.capture.config import CaptureConfig
from pipeline.capture.picture import as_picture, bits_in_use
from pipeline.capture.source import Grab, Picture
from pipeline.capture.tiff import count_pages
from pipeline.capture.video_file import check_file
from pipeline.errors import SourceError
from pipeline.opencv import require_opencv

log = logging.getLogger(__name__)
_PNG = b"\x89PNG\r\n\x1a\n"
_STACKS = (".tif", ".tiff")
_CHUNK = 16


class ImageSequence:
    """Images read as a video: one frame per file, or per page of a TIFF stack.

    Images carry no timestamps, so media time is frame / ``image_fps``. All images must have the size and pixel type
    of the first one. Damaged files are skipped with a warning, and leave a gap in the frame numbers.

    Attributes:
        name: path or pattern.
        live: always False.
        replays: always True.
        reconnects: always 0.
        hangs: always False.
        notice: always empty.
        length: number of frames; None before ``open``.
        state: ``closed`` or ``open``.
    """

    live = False
    replays = True
    reconnects, notice, hangs = 0, "", False

    def __init__(self, address: str, config: CaptureConfig) -> None:
        self.name = address
        self.length: int | None = None
        self.state = "closed"
        self._config = config
        self._images: Iterator[tuple[int, str, NDArray[Any]]] = iter(())
        self._first: Picture | None = None

    def open(self) -> None:
        """List the images.

        Raises:
            SourceError: there are none.
        """
        require_opencv()
        stacks = {path: _pages(path) for path in find_images(self.name)}
        self._images = _read_all(stacks)
        self.length = sum(stacks.values())
        self.state = "open"

    def grab(self) -> Grab | None:
        """Return the next frame; None at the end or after ``close``.

        Raises:
            SourceError: a file does not match the first image, or this is the end and files could not be read; the
                message names the file, or the first of them.
        """
        numbered = next(self._images, None)
        if numbered is None:
            return None
        frame, name, image = numbered
        picture = as_picture(image, name)
        first = self._first = picture if self._first is None else self._first
        if picture.shape != first.shape or picture.dtype != first.dtype:
            raise SourceError(f"{name}: picture of {_kind(picture)} among pictures of {_kind(first)}")
        bits = bits_in_use(picture, self._config.bit_depth)
        return Grab(picture, frame, frame / self._config.image_fps, time.monotonic_ns(), time.time_ns(), bits)

    def close(self) -> None:
        """Stop reading images."""
        self._images = iter(())
        self.state = "closed"


def find_images(address: str) -> list[Path]:
    """Return the image files of a folder, a pattern or a single name, in natural order.

    Hidden files in a folder are skipped: macOS leaves a ``._x.png``, which is not an image, next to every ``x.png``.

    Raises:
        SourceError: there are none.
    """
    path = Path(address)
    if path.is_dir():
        shown = [file for file in path.iterdir() if not file.name.startswith(".")]
        found = [file for file in shown if file.suffix.lower() in IMAGE_SUFFIXES]
        missing = f"no images in the folder (looked for {' '.join(IMAGE_SUFFIXES)})"
    elif any(c in address for c in "*?[") and not path.exists():
        matches = [Path(name) for name in glob.glob(address, recursive=True)]  # noqa: PTH207 - absolute patterns
        found = [file for file in matches if file.suffix.lower() in IMAGE_SUFFIXES]
        missing = "no images match the pattern" + (", only other files; name videos one by one" if matches else "")
    else:
        found, missing = [path], ""
    if not found:
        raise SourceError(f"{address}: {missing}")
    return sorted(found, key=natural_key)


def natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a sort key in natural order: frame2 before frame10; ties are broken by the plain name."""
    parts = re.split(r"([0-9]+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], str(path)


def _pages(path: Path) -> int:
    """Return the number of images in a file."""
    if path.suffix.lower() in _STACKS and path.is_file():
        return max(1, count_pages(path)[0])
    return 1


def _read_all(stacks: Mapping[Path, int]) -> Iterator[tuple[int, str, NDArray[Any]]]:
    """Yield frame index, name and stored pixels of every readable image.

    Args:
        stacks: number of images in every file.

    Raises:
        SourceError: a file cannot be read. Raised after the images of all others were yielded.
    """
    errors: list[SourceError] = []
    start = 0
    for path, pages in stacks.items():
        try:
            for k, (name, image) in enumerate(_read(path, pages)):
                yield start + k, name, image
        except SourceError as error:
            if len(stacks) == 1:
                raise
            log.warning("%s; skipped", error)
            errors.append(error)
        start += pages
    if errors:
        raise SourceError(f"{errors[0]} ({len(errors)} of {len(stacks)} files skipped)")


def _read(path: Path, pages: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield name and stored pixels of every image in a file.

    Raises:
        SourceError: the file is missing, empty, damaged or not an image. Raised after the readable images were yielded.
    """
    check_file(path, str(path))
    if pages == 1:
        yield str(path), _decode(path)
    # OpenCV walks from the first page to the requested one; reading in chunks makes that walk rare.
    for start in range(0, pages if pages > 1 else 0, _CHUNK):
        count = min(_CHUNK, pages - start)
        try:
            _, images = cv2.imreadmulti(str(path), start, count, flags=cv2.IMREAD_UNCHANGED)
        except cv2.error:
            images = ()
        for k, image in enumerate(images):
            yield f"{path} page {start + k + 1}", image
        if len(images) < count:
            raise SourceError(f"{path} page {start + len(images) + 1}: not a readable image")
    if path.suffix.lower() in _STACKS and not count_pages(path)[1]:
        raise SourceError(f"{path}: the file is cut short, {pages} of its pages could be read")


def _decode(path: Path) -> NDArray[Any]:
    data = path.read_bytes()
    if not _complete(data):
        raise SourceError(f"{path}: the image is damaged or cut short")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise SourceError(f"{path}: not a readable image")
    return image


def _complete(data: bytes) -> bool:
    """Return False for PNG and JPEG files that are damaged or cut short; other formats are not checked.

    The decoder would fill the missing part with gray, or print its own warnings.
    """
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in data[-1024:]
    if not data.startswith(_PNG):
        return True
    at = len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end
    return False


def _kind(picture: Picture) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]} px {8 * picture.itemsize} bit"
