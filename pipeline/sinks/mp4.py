"""Fragmented MP4 (ISO/IEC 14496-12): a file that is playable up to its last fragment at any moment.

OpenCV's writer completes the index of a file only when it is closed. So about one second of video at a time is
encoded to a separate file, which is parsed here and appended as a fragment, as live recorders do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

TIMESCALE = 90_000
KEY, NON_KEY = 0x02000000, 0x01010000  # sample flags: independent sync sample; dependent non-sync sample
_UNITY = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}


class Clip(NamedTuple):
    """The video samples of a complete MP4 file with one track.

    Attributes:
        description: the ``stsd`` box: codec, size and decoder configuration.
        samples: encoded frames in order; frames are not reordered.
        keys: indices of the key frames.
    """

    description: bytes
    samples: list[bytes]
    keys: frozenset[int]


def parse_clip(data: bytes) -> Clip:
    """Parse a complete MP4 file with one video track, as written by OpenCV.

    Raises:
        ValueError: the file is incomplete, or not of this kind.
    """
    found: dict[bytes, bytes] = {}
    for kind, box in _boxes(data):
        found.setdefault(kind, box)
    keys: Iterable[int]
    try:
        fixed, count = struct.unpack_from(">II", found[b"stsz"], 12)
        sizes = [fixed] * count if fixed else list(struct.unpack_from(f">{count}I", found[b"stsz"], 20))
        keys = range(1, count + 1)
        if b"stss" in found:
            keys = struct.unpack_from(f">{struct.unpack_from('>I', found[b'stss'], 12)[0]}I", found[b"stss"], 16)
        media, description = found[b"mdat"], found[b"stsd"]
    except (KeyError, struct.error):
        raise ValueError("no complete MP4 file with a video track") from None
    start = 16 if media[:4] == b"\0\0\0\1" else 8
    if len(media) - start != sum(sizes):
        raise ValueError(f"{len(media) - start} bytes of video for samples of {sum(sizes)}")
    samples = []
    for size in sizes:
        samples.append(media[start : start + size])
        start += size
    return Clip(description, samples, frozenset(key - 1 for key in keys))


def init_segment(description: bytes, width: int, height: int) -> bytes:
    """Return the initialization segment, the start of a fragmented file.

    Args:
        description: ``stsd`` box shared by all clips to be appended.
        width: width in px.
        height: height in px.
    """
    times = struct.pack(">IIII", 0, 0, TIMESCALE, 0)
    reference = _full(b"dref", 0, 0, struct.pack(">I", 1), _full(b"url ", 0, 1))
    empty = [_full(kind, 0, 0, struct.pack(">I", 0)) for kind in (b"stts", b"stsc", b"stco")]
    table = _box(b"stbl", description, *empty, _full(b"stsz", 0, 0, struct.pack(">II", 0, 0)))
    information = _box(b"minf", _full(b"vmhd", 0, 1, bytes(8)), _box(b"dinf", reference), table)
    handler = _full(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, b"vide"), b"video\0")
    media = _box(b"mdia", _full(b"mdhd", 0, 0, times, struct.pack(">HH", 0x55C4, 0)), handler, information)
    place = struct.pack(">IIIII8xhhhH", 0, 0, 1, 0, 0, 0, 0, 0, 0) + _UNITY
    header = _full(b"tkhd", 0, 3, place, struct.pack(">II", width << 16, height << 16))
    movie = _full(b"mvhd", 0, 0, times, struct.pack(">IH10x", 0x10000, 0x100), _UNITY, bytes(24), struct.pack(">I", 2))
    extends = _box(b"mvex", _full(b"trex", 0, 0, struct.pack(">IIIII", 1, 1, 0, 0, 0)))
    brands = _box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomiso5mp41")
    return brands + _box(b"moov", movie, _box(b"trak", header, media), extends)


def fragment(clip: Clip, number: int, start: int, durations: Sequence[int]) -> bytes:
    """Return a clip as one fragment.

    Args:
        clip: clip with the samples of the fragment.
        number: sequence number of the fragment, from 1.
        start: presentation time of the first sample in 1/90,000 s.
        durations: duration of every sample in 1/90,000 s.
    """

    def moof(offset: int) -> bytes:
        run = struct.pack(">Ii", len(clip.samples), offset)
        for k, (sample, duration) in enumerate(zip(clip.samples, durations, strict=True)):
            run += struct.pack(">III", duration, len(sample), KEY if k in clip.keys else NON_KEY)
        header = _full(b"tfhd", 0, 0x020000, struct.pack(">I", 1))
        time = _full(b"tfdt", 1, 0, struct.pack(">Q", start))
        track = _box(b"traf", header, time, _full(b"trun", 0, 0x000701, run))
        return _box(b"moof", _full(b"mfhd", 0, 0, struct.pack(">I", number)), track)

    return moof(len(moof(0)) + 8) + _box(b"mdat", *clip.samples)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and bytes of all boxes in order, descending into the containers that lead to the sample table."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        if size < head or at + size > len(data):
            return
        yield kind, data[at : at + size]
        if kind in _CONTAINERS:
            yield from _boxes(data[at + head : at + size])
        at += size


def _box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


def _full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)
