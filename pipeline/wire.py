"""Conversion between messages and bytes. All limits are checked before data is used; only ``WireError`` is raised.

A message has two or three parts: magic bytes with the schema version, the msgpack-encoded struct and, except for the
end of a source, the raw picture, whose length must equal height x width x item size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from pipeline.errors import PipelineError
from pipeline.messages import (
    DETECTION_DTYPE,
    EXCEEDING_DTYPE,
    MAX_OBJECTS,
    REPLACED_DTYPE,
    SCHEMA_VERSION,
    TRACK_DTYPE,
    TRACK_STATES,
    Detected,
    EgoMotion,
    EndOfSource,
    FrameHeader,
    Message,
    Moving,
    Packet,
    Prepared,
    Table,
    Tracked,
    session_of,
    table,
)

MAGIC = b"IRST" + SCHEMA_VERSION.to_bytes(2, "big")
MAX_PICTURE_BYTES = 256 * 1024 * 1024
MAX_HEADER_BYTES = 65_536 + MAX_OBJECTS * (DETECTION_DTYPE.itemsize + TRACK_DTYPE.itemsize) + MAX_PICTURE_BYTES
"""Enough for full tables and for the change picture of the largest picture."""
MAX_ERROR = 200
"""Maximum number of characters of an error text that may come from the invalid message."""

Buffer = bytes | bytearray | memoryview

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class WireError(PipelineError):
    """The bytes are not a valid message; the text says what is wrong."""


def encode(packet: Packet) -> list[Buffer]:
    """Return the parts of a packet, in order. The picture is not copied if it is contiguous."""
    parts: list[Buffer] = [MAGIC, _encoder.encode(packet.message)]
    if packet.picture is not None:
        parts.append(np.ascontiguousarray(packet.picture).data)
    return parts


def decode(parts: Sequence[Buffer], session: str | None) -> Packet:
    """Check and decode the parts of one message of a session, or of any session if ``session`` is None.

    The picture is a read-only view of the last part.

    Raises:
        WireError: the message is invalid in any way.
    """
    if len(parts) not in (2, 3):
        raise WireError(f"message of {len(parts)} parts, expected 2 or 3")
    magic, body = bytes(parts[0]), parts[1]
    if magic != MAGIC:
        raise WireError(f"message starts with {magic[:8]!r}, expected {MAGIC!r}: other program or schema version")
    if memoryview(body).nbytes > MAX_HEADER_BYTES:
        raise WireError(f"header of {memoryview(body).nbytes} bytes is over the limit of {MAX_HEADER_BYTES}")
    message = decode_struct(body, _decoder)

    sender = session_of(message)
    if session is not None and sender != session:
        raise WireError(f"message of session {sender!r}, this is {session!r}")
    if isinstance(message, EndOfSource):
        if len(parts) == 3:
            raise WireError("end of source with a picture")
        return Packet(message)
    if len(parts) == 2:
        raise WireError("frame message without a picture")
    _check_values(message)
    return Packet(message, _picture(parts[2], message.header))


def decode_struct(body: Buffer, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
    """Decode one struct; every failure is raised as ``WireError``."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"bad message: {str(error)[:MAX_ERROR]}") from None


def encode_struct(message: Struct) -> bytes:
    """Encode one struct of a control channel."""
    return _encoder.encode(message)


def _picture(data: Buffer, header: FrameHeader) -> np.ndarray[Any, Any]:
    size = memoryview(data).nbytes
    if header.picture_bytes > MAX_PICTURE_BYTES:
        raise WireError(f"picture of {header.picture_bytes} bytes is over the limit of {MAX_PICTURE_BYTES}")
    if size != header.picture_bytes:
        raise WireError(
            f"picture of {size} bytes, but {header.width}x{header.height} {header.dtype} needs a different size"
        )
    picture = np.frombuffer(data, header.dtype).reshape(header.height, header.width)
    picture.flags.writeable = False
    return picture


def _check_values(message: Message) -> None:
    """Check what the types cannot express: finite numbers, complete tables, bit depths that match the pixel type."""
    header: FrameHeader = message.header  # type: ignore[union-attr]
    if not math.isfinite(header.pts):
        raise WireError("header.pts is not finite")
    if (header.dtype == "uint8") != (header.bit_depth <= 8):
        raise WireError(f"{header.dtype} with a bit depth of {header.bit_depth}")
    if isinstance(message, Prepared):
        scale = message.intensity
        if not all(map(math.isfinite, (scale.mean, scale.gain))):
            raise WireError("intensity is not finite")
        pixels = header.height * header.width
        _check_pixels("hidden", message.hidden, REPLACED_DTYPE, pixels)
        if message.moving is not None:
            _check_moving(message.moving, pixels)
    ego = getattr(message, "ego", None)
    if isinstance(ego, EgoMotion) and not all(map(math.isfinite, (*ego.matrix, ego.residual))):
        raise WireError("ego-motion is not finite")
    try:
        if isinstance(message, Detected | Tracked):
            _check_finite(table(message.detections, DETECTION_DTYPE))
        if isinstance(message, Tracked):
            tracks = table(message.tracks, TRACK_DTYPE)
            _check_finite(tracks)
            if not ((tracks["state"] >= 0) & (tracks["state"] < len(TRACK_STATES))).all():
                raise ValueError("a track is in a state that does not exist")
    except ValueError as error:
        raise WireError(str(error)) from None


def _check_moving(moving: Moving, pixels: int) -> None:
    if len(moving.change) != pixels:
        raise WireError(f"changes of {len(moving.change)} pixels in a picture of {pixels}")
    if len(moving.sharp) % 4 or len(moving.sharp) > pixels or not np.isfinite(np.frombuffer(moving.sharp, "<f4")).all():
        raise WireError("sharpness of the changes is invalid")
    _check_pixels("exceeding", moving.exceeding, EXCEEDING_DTYPE, pixels)
    _check_pixels("mended", moving.mended, REPLACED_DTYPE, pixels)


def _check_pixels(name: str, data: bytes, dtype: np.dtype[Any], pixels: int) -> None:
    try:
        rows = table(data, dtype)
        _check_finite(rows)
    except ValueError as error:
        raise WireError(str(error)) from None
    if not ((rows["at"] >= 0) & (rows["at"] < pixels)).all():
        raise WireError(f"{name} pixels that are not in the picture")


def _check_finite(rows: Table) -> None:
    for name in rows.dtype.names or ():
        if not np.isfinite(rows[name]).all():
            raise ValueError(f"a table holds a value of {name} that is not finite")
