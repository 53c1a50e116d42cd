"""Length information in video containers, used to tell a truncated file from a complete one.

The declared number of frames is no criterion: a file trimmed without re-encoding contains, and counts, more
frames than are shown. Its duration and its size in bytes are reliable.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_FOUR_CC_RIFF = b"RIFF"
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_SCAN_LIMIT = 64


def missing_bytes(path: Path) -> int:
    """Return how many bytes the file declares but does not contain; 0 if none are missing or the format is unknown.

    Checks MP4/MOV boxes, AVI lists and Matroska segments.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_SCAN_LIMIT)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            end = max((start + length for _, start, _, length in _boxes(file, 0, size)), default=0)
        elif head[:4] == _FOUR_CC_RIFF and len(head) >= 12:
            end = 8 + int(struct.unpack("<I", head[4:8])[0])
        elif head[:4] == _EBML:
            end = _matroska_end(head)
        else:
            end = 0
    return max(0, end - size)


def duration(path: Path) -> float | None:
    """Return the duration in seconds of the video track of an MP4/MOV file, after its edit list.

    Returns:
        None for other containers; 0 if the file does not declare it (fragmented files).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        moov = _find(file, b"moov", 0, size)
        if moov is None:
            return None
        timescale = _movie_timescale(file, *moov)
        for kind, start, header, length in _boxes(file, *moov):
            inside = (start + header, start + length)
            if kind == b"trak" and _is_video(file, *inside):
                return _track_ticks(file, *inside) / timescale if timescale else 0.0
    return 0.0


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield type, offset, header length and total length of every box in [start, end) (ISO/IEC 14496-12, 4.2)."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1 and len(head) == 16:
            length, header = int.from_bytes(head[8:], "big"), 16
        elif length == 0:
            length = end - start
        if length < header:
            return
        yield head[4:8], start, header, length
        start += length


def _find(file: BinaryIO, wanted: bytes, start: int, end: int) -> tuple[int, int] | None:
    for kind, offset, header, length in _boxes(file, start, end):
        if kind == wanted:
            return offset + header, offset + length
    return None


def _movie_timescale(file: BinaryIO, start: int, end: int) -> int:
    box = _find(file, b"mvhd", start, end)
    body = _body(file, box, 24)
    return int.from_bytes(body[20:24] if body[:1] == b"\x01" else body[12:16], "big")


def _track_ticks(file: BinaryIO, start: int, end: int) -> int:
    """Return the duration of a track in ticks of the movie timescale (tkhd); 0 if unknown."""
    body = _body(file, _find(file, b"tkhd", start, end), 36)
    field = body[28:36] if body[:1] == b"\x01" else body[20:24]
    return 0 if field == b"\xff" * len(field) else int.from_bytes(field, "big")


def _is_video(file: BinaryIO, start: int, end: int) -> bool:
    mdia = _find(file, b"mdia", start, end)
    return mdia is not None and _body(file, _find(file, b"hdlr", *mdia), 12)[8:12] == b"vide"


def _body(file: BinaryIO, box: tuple[int, int] | None, length: int) -> bytes:
    if box is None:
        return b""
    file.seek(box[0])
    return file.read(min(length, box[1] - box[0]))


def _matroska_end(head: bytes) -> int:
    """Return the end offset of the first segment (EBML, RFC 8794); 0 if it is not declared."""
    at = head.find(_SEGMENT)
    if at < 0 or at + 5 > len(head):
        return 0
    at += len(_SEGMENT)
    width = 9 - head[at].bit_length()
    coded = head[at : at + width]
    value = int.from_bytes(coded, "big") & ((1 << 7 * width) - 1)
    unknown = value == (1 << 7 * width) - 1
    return 0 if unknown or len(coded) < width else at + width + value
