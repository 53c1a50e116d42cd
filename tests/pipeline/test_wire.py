"""Encoding and decoding: messages survive the round trip, and anything else raises ``WireError`` only."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.messages import (
    DETECTION_DTYPE,
    EXCEEDING_DTYPE,
    REPLACED_DTYPE,
    TRACK_DTYPE,
    Detected,
    EgoMotion,
    EndOfSource,
    Frame,
    FrameHeader,
    Intensity,
    Message,
    Moving,
    Packet,
    Prepared,
    Stamp,
    Tracked,
)
from pipeline.wire import MAGIC, WireError, decode, encode
from tests.messages import SESSION, end, frame_header

finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)


@st.composite
def headers(draw: st.DrawFn) -> FrameHeader:
    dtype, depths = draw(st.sampled_from([("uint8", (1, 8)), ("uint16", (9, 16))]))
    return FrameHeader(
        session=SESSION, source=draw(st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True)), seq=draw(counts),
        frame=draw(counts), pts=draw(finite), capture_mono_ns=draw(counts), capture_wall_ns=draw(counts),
        height=draw(st.integers(1, 40)), width=draw(st.integers(1, 40)), dtype=dtype,
        bit_depth=draw(st.integers(*depths)),
        stamps=tuple(draw(st.lists(st.builds(Stamp, stage=st.text(max_size=8), enter_ns=counts, leave_ns=counts),
                                   max_size=3))),
    )  # fmt: skip


@st.composite
def moving(draw: st.DrawFn, header: FrameHeader) -> Moving:
    pixels = header.height * header.width
    exceeding, mended = (np.zeros(draw(st.integers(0, 3)), dtype) for dtype in (EXCEEDING_DTYPE, REPLACED_DTYPE))
    for rows in (exceeding, mended):
        rows["at"] = draw(st.lists(st.integers(0, pixels - 1), min_size=len(rows), max_size=len(rows)))
    return Moving(
        change=draw(st.binary(min_size=pixels, max_size=pixels)), exceeding=exceeding.tobytes(),
        mended=mended.tobytes(), sharp=np.ones(draw(st.integers(0, 1)), "<f4").tobytes(), weight=draw(st.floats(0, 1)),
    )  # fmt: skip


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    kind = draw(st.sampled_from([Frame, Prepared, Detected, Tracked, EndOfSource]))
    if kind is EndOfSource:
        return Packet(EndOfSource(session=SESSION, source="a", reason="failed", error=draw(st.text())))
    header = draw(headers())
    ego = EgoMotion(matrix=draw(st.tuples(*[finite] * 6)), inliers=draw(counts), residual=draw(finite), ok=True)
    rows = draw(st.integers(0, 3))
    message: Message
    if kind is Frame:
        message = Frame(header=header)
    elif kind is Prepared:
        scale = Intensity(mean=draw(finite), gain=draw(st.floats(1e-9, 1e9)))
        message = Prepared(header=header, intensity=scale, ego=ego, moving=draw(st.none() | moving(header)),
                           hidden=np.zeros(draw(st.integers(0, 3)), REPLACED_DTYPE).tobytes(),
                           black_hot=draw(st.booleans()))  # fmt: skip
    elif kind is Detected:
        message = Detected(header=header, ego=ego, detections=np.zeros(rows, DETECTION_DTYPE).tobytes())
    else:
        tracks = np.zeros(rows, TRACK_DTYPE)
        tracks["id"] = np.arange(rows)
        message = Tracked(header=header, ego=ego, detections=b"", tracks=tracks.tobytes())
    raw = draw(st.binary(min_size=header.picture_bytes, max_size=header.picture_bytes))
    return Packet(message, np.frombuffer(raw, header.dtype).reshape(header.height, header.width))


def as_bytes(packet: Packet) -> list[bytes]:
    return [bytes(part) for part in encode(packet)]


@settings(deadline=None)
@given(packets())
def test_packets_survive_the_round_trip(packet: Packet) -> None:
    got = decode(as_bytes(packet), SESSION)
    assert got.message == packet.message
    if packet.picture is None:
        assert got.picture is None
    else:
        assert got.picture is not None
        assert got.picture.dtype == packet.picture.dtype
        assert np.array_equal(got.picture, packet.picture)
        assert not got.picture.flags.writeable


@settings(deadline=None, max_examples=400)
@given(packets(), st.data())
def test_mutated_bytes_raise_wire_error_or_decode(packet: Packet, data: st.DataObject) -> None:
    parts = [bytearray(part) for part in as_bytes(packet)]
    for _ in range(data.draw(st.integers(1, 4))):
        part = parts[data.draw(st.integers(0, len(parts) - 1))]
        how = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        at = data.draw(st.integers(0, max(0, len(part) - 1)))
        if how == "flip" and part:
            part[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del part[at:]
        else:
            part[at:at] = data.draw(st.binary(max_size=5))
    try:
        decode([bytes(part) for part in parts], SESSION)
    except WireError as error:
        assert str(error)
        assert "\n" not in str(error).strip()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=5))
def test_noise_raises_wire_error(parts: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(parts, SESSION)
    with pytest.raises(WireError):
        decode([MAGIC, *parts], SESSION)


HEADER = frame_header((2, 3))
PICTURE = bytes(6)


def bad(message: object, *rest: bytes) -> list[bytes]:
    return [MAGIC, msgspec.msgpack.encode(message), *rest]


BEFORE = np.array([(-1, 3.0)], REPLACED_DTYPE).tobytes()
OUTSIDE, ENDLESS = (np.array([row], EXCEEDING_DTYPE).tobytes() for row in ((6, 0.5, 5.0), (5, np.inf, 5.0)))


def moves(**changes: object) -> list[bytes]:
    facts: dict[str, Any] = {"change": bytes(6), "exceeding": b"", "mended": b"", "sharp": b"", "weight": 0.5}
    return prepares(moving=Moving(**facts | changes))


def prepares(**changes: object) -> list[bytes]:
    scale: dict[str, Any] = {"intensity": Intensity(mean=0, gain=1)}
    return bad(Prepared(header=HEADER, ego=EgoMotion(), **scale | changes), PICTURE)


def header(**changes: object) -> dict[str, object]:
    return {"type": "frame", "header": msgspec.to_builtins(HEADER) | changes}


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([MAGIC], "1 parts"),
        ([b"IRST\x00\x63", b"", b""], "schema version"),
        ([MAGIC, b"", PICTURE], "bad message"),
        (bad(header(), PICTURE[:-1]), "picture of 5 bytes"),
        (bad(header()), "without a picture"),
        (bad(header(session="other"), PICTURE), "session 'other'"),
        (bad(header(height=0), PICTURE), "header.height"),
        (bad(header(height=2**40), PICTURE), "header.height"),
        (bad(header(height=16384, width=16384), PICTURE), "picture of 6 bytes"),
        (bad(header(dtype="float64"), PICTURE), "header.dtype"),
        (bad(header(source="../etc"), PICTURE), "header.source"),
        (bad(header(pts=float("nan")), PICTURE), "not finite"),
        (bad(header(bit_depth=12), PICTURE), "bit depth of 12"),
        (bad(header(extra=1), PICTURE), "unknown field"),
        (bad(header(seq=-1), PICTURE), "header.seq"),
        (bad(Detected(header=HEADER, ego=EgoMotion(), detections=b"123"), PICTURE), "table of 3 bytes"),
        (bad(end().message, PICTURE), "with a picture"),
        (moves(change=bytes(5)), "changes of 5 pixels in a picture of 6"),
        (moves(exceeding=bytes(7)), "table of 7 bytes"),
        (moves(exceeding=OUTSIDE), "exceeding pixels that are not in the picture"),
        (moves(exceeding=ENDLESS), "value of over that is not finite"),
        (moves(mended=BEFORE), "mended pixels that are not in the picture"),
        (prepares(hidden=BEFORE), "hidden pixels that are not in the picture"),
        (prepares(hidden=bytes(5)), "table of 5 bytes"),
        (moves(sharp=bytes(3)), "sharpness"),
        (moves(sharp=np.full(1, np.nan, "<f4").tobytes()), "sharpness"),
        (moves(sharp=bytes(4 * 7)), "sharpness"),
        (moves(weight=1.5), "weight"),
    ],
)
def test_invalid_message_is_refused_with_its_reason(parts: list[bytes], says: str) -> None:
    with pytest.raises(WireError, match=says.replace("(", r"\(")):
        decode(parts, SESSION)
