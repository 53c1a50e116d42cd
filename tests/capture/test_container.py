"""Declared lengths of video files, and files that declare wrong ones."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.capture import container
from pipeline.capture.tiff import count_pages


def box(kind: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return (8 + len(body) if length is None else length).to_bytes(4, "big") + kind + body


def movie(ticks: int, timescale: int = 600, handler: bytes = b"vide") -> bytes:
    """Return a moov box with one track, with version 0 boxes."""
    mvhd = box(b"mvhd", bytes(12) + timescale.to_bytes(4, "big") + bytes(84))
    tkhd = box(b"tkhd", bytes(20) + ticks.to_bytes(4, "big") + bytes(60))
    mdia = box(b"mdia", box(b"hdlr", bytes(8) + handler + bytes(13)))
    return box(b"moov", mvhd + box(b"trak", tkhd + mdia))


FTYP = box(b"ftyp", b"isom" + bytes(4))


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (FTYP + box(b"mdat", bytes(100)), 0),
        (FTYP + box(b"mdat", bytes(100), 150), 42),
        (FTYP + box(b"mdat", bytes(100), 0), 0),
        (FTYP + b"\0\0\0\1mdat" + (1000).to_bytes(8, "big") + bytes(84), 900),
        (b"RIFF" + (92).to_bytes(4, "little") + b"AVI " + bytes(88), 0),
        (b"RIFF" + (192).to_bytes(4, "little") + b"AVI " + bytes(88), 100),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x41\x00" + bytes(200), 56),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff" + bytes(200), 0),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(200), 0),
        (b"\x47" * 188, 0),
        (b"", 0),
    ],
)
def test_missing_bytes(data, missing, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    assert container.missing_bytes(path) == missing


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (FTYP + movie(1500), 2.5),
        (FTYP + box(b"mdat", bytes(500)) + movie(300), 0.5),
        (FTYP + movie(0), 0.0),
        (FTYP + movie(1500, timescale=0), 0.0),
        (FTYP + movie(0xFFFFFFFF), 0.0),
        (FTYP + movie(1500, handler=b"soun"), 0.0),
        (FTYP, None),
        (b"RIFF1234AVI ", None),
    ],
)
def test_duration_is_that_of_the_video_track(data, seconds, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    assert container.duration(path) == seconds


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_bytes_never_raise(tmp_path, data):
    seed = data.draw(
        st.sampled_from([FTYP + movie(9), b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67", b"II*\0", b"MM\0+", b""])
    )
    content = bytearray(seed + data.draw(st.binary(max_size=80)))
    for at in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=6)) if content else []:
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "file"
    path.write_bytes(content)
    assert container.missing_bytes(path) >= 0
    assert (container.duration(path) or 0) >= 0
    assert count_pages(path)[0] >= 0
