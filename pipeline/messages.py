"""The messages that travel between stages: one key, one picture, and what each room has added to it.

Every message is a frozen msgspec Struct. Unknown fields, wrong types and impossible values are refused
while decoding, so a stage may rely on what is written here. Tables of objects (detections, tracks)
travel as the raw bytes of a structured array: exact, compact, and columns on arrival.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

SCHEMA_VERSION = 1
MAX_SIDE = 16_384
MAX_OBJECTS = 10_000

SourceId = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,32}$")]
Count = Annotated[int, Meta(ge=0)]
SessionName = Annotated[str, Meta(min_length=1, max_length=64)]
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
Nanoseconds = Annotated[int, Meta(ge=0)]
Affine = tuple[float, float, float, float, float, float]
Table = NDArray[np.void]
Key = tuple[str, int]

END = 1 << 62
"""Stands for the number of the end of a source, after all its frames."""
IDENTITY: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

# Pixels of the source frame, x right, y down, the centre of the top-left pixel at (0, 0).
_OBJECT_COLUMNS = [(name, "<f8") for name in ("score", "area", "bx", "by", "bw", "bh", "snr")]
# motion: 0 where the score is the network's; else the score rests on a change against the past of so many sigma, and
# appearance says how much likelier a target is than clutter to look so in this frame (log likelihood ratio, nats).
DETECTION_DTYPE = np.dtype([("x", "<f8"), ("y", "<f8"), *_OBJECT_COLUMNS, ("motion", "<f8"), ("appearance", "<f8")])
TRACK_DTYPE = np.dtype(
    [("id", "<i8"), ("state", "<i8"), ("x", "<f8"), ("y", "<f8"), ("vx", "<f8"), ("vy", "<f8"), *_OBJECT_COLUMNS]
)
# Pixels, their places row by row: what has changed by about as much as it must, and what a stuck one would have shown.
EXCEEDING_DTYPE = np.dtype([("at", "<i8"), ("over", "<f4"), ("significance", "<f4")])
MENDED_DTYPE = np.dtype([("at", "<i8"), ("count", "<f4")])
TRACK_STATES = ("tentative", "confirmed", "coasting")
TENTATIVE, CONFIRMED, COASTING = range(3)


class _Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all structs on the wire share."""


class Stamp(_Message, frozen=True):
    """When a message entered and left a stage, in monotonic ns of the machine the stage runs on."""

    stage: str
    enter_ns: Nanoseconds
    leave_ns: Nanoseconds


class FrameHeader(_Message, frozen=True):
    """The key of a frame, its clocks and the layout of its picture.

    Attributes:
        session: random name of this run; messages of another session are refused.
        source: the source's id, also its output folder.
        seq: counts captured frames of the source from 0, without gaps.
        frame: index in media order from 0; differs from ``seq`` where the medium itself skipped.
        pts: media time in seconds; the clock of motion models.
        capture_mono_ns: monotonic clock at capture; the clock of durations.
        capture_wall_ns: Unix time at capture; the clock of people.
        height, width: of the picture in pixels.
        dtype: of the picture's pixels.
        bit_depth: bits in use, 1..8 for uint8 and 9..16 for uint16.
        stamps: one per stage passed, in order.
    """

    session: SessionName
    source: SourceId
    seq: Count
    frame: Count
    pts: float
    capture_mono_ns: Nanoseconds
    capture_wall_ns: Nanoseconds
    height: Side
    width: Side
    dtype: Literal["uint8", "uint16"]
    bit_depth: Annotated[int, Meta(ge=1, le=16)]
    stamps: Annotated[tuple[Stamp, ...], Meta(max_length=32)] = ()

    @property
    def picture_bytes(self) -> int:
        """Length in bytes that the raw picture must have."""
        return self.height * self.width * np.dtype(self.dtype).itemsize


class EgoMotion(_Message, frozen=True):
    """How the camera moved since the previous frame of the same source.

    Attributes:
        matrix: (a, b, tx, c, d, ty): x' = a x + b y + tx, y' = c x + d y + ty maps coordinates of the
            previous frame to this frame's. Identity when nothing is known.
        inliers: points that agree with the matrix.
        residual: rms distance of the inliers in px.
        ok: the matrix can be trusted.
        method: how it was found.
        since: ``seq`` of that previous frame; None where there was none, or the motion is the same since any.
    """

    matrix: Affine = IDENTITY
    inliers: Count = 0
    residual: float = 0.0
    ok: bool = False
    method: Literal["flow", "ecc", "none"] = "none"
    since: Count | None = None


class Intensity(_Message, frozen=True):
    """Statistics that take native counts to the z-score of their frame: (picture - mean) * gain."""

    mean: float
    gain: Annotated[float, Meta(gt=0)]


class Frame(_Message, frozen=True, tag="frame"):
    """From capture: a picture (part 2 of the wire message) and its header."""

    header: FrameHeader


class Moving(_Message, frozen=True):
    """What a frame shows to be moving, held against the past of its source.

    Attributes:
        change: (H, W) uint8, row by row: how much each place has changed, see ``nets.normalisation.change_picture``.
        exceeding: pixels that reach their threshold or nearly, as rows of ``EXCEEDING_DTYPE``, by place; ``over`` is by
            how many standard deviations.
        mended: stuck pixels of the sensor, as rows of ``MENDED_DTYPE``, by place.
        sharp: (m,) float32, ascending: how sharp the greatest changes are, counts.
        weight: how much sharpness is believed.
    """

    change: bytes
    exceeding: bytes
    mended: bytes
    sharp: bytes
    weight: Annotated[float, Meta(ge=0, le=1)]

    def exceeding_table(self) -> Table:
        """Pixels as a read-only structured array of shape (n,)."""
        return table(self.exceeding, EXCEEDING_DTYPE)

    def mended_table(self) -> Table:
        """Stuck pixels as a read-only structured array of shape (n,)."""
        return table(self.mended, MENDED_DTYPE)


class Prepared(_Message, frozen=True, tag="prepared"):
    """From preprocess: the same picture, how to feed it to the network, how the camera moved, and what else moves.

    Attributes:
        moving: none where that is not known, or not asked for.
    """

    header: FrameHeader
    intensity: Intensity
    ego: EgoMotion
    moving: Moving | None = None


class Detected(_Message, frozen=True, tag="detected"):
    """From detect.

    Attributes:
        detections: of the frame, as rows of ``DETECTION_DTYPE``.
        noisy: how much of what changes in it is noise, and not clutter; 0 where nobody can tell.
    """

    header: FrameHeader
    ego: EgoMotion
    detections: bytes
    noisy: Annotated[float, Meta(ge=0, le=1)] = 0.0

    def table(self) -> Table:
        """Detections as a read-only structured array of shape (n,)."""
        return table(self.detections, DETECTION_DTYPE)


class Tracked(_Message, frozen=True, tag="tracked"):
    """From track: detections and the tracks after them, as rows of ``TRACK_DTYPE``.

    Attributes:
        restarts: times that the track stage has died and begun anew, without the tracks it had.
    """

    header: FrameHeader
    ego: EgoMotion
    detections: bytes
    tracks: bytes
    restarts: Count = 0

    def detection_table(self) -> Table:
        """Detections as a read-only structured array of shape (n,)."""
        return table(self.detections, DETECTION_DTYPE)

    def track_table(self) -> Table:
        """Tracks as a read-only structured array of shape (n,)."""
        return table(self.tracks, TRACK_DTYPE)


class EndOfSource(_Message, frozen=True, tag="end"):
    """In band, the last message of a source. Draining is waiting for one per source.

    Attributes:
        reason: ``finished`` (medium at its end), ``stopped`` (asked to), ``failed`` (see error).
        error: one line naming what is wrong, empty unless failed.
        captured: frames captured in all.
        dropped: frames dropped at the door, by cause.
    """

    session: SessionName
    source: SourceId
    reason: Literal["finished", "stopped", "failed"]
    error: str = ""
    captured: Count = 0
    dropped: dict[str, Count] = {}


Message = Frame | Prepared | Detected | Tracked | EndOfSource


def source_of(message: Message) -> str:
    """The id of the source a message belongs to."""
    return message.source if isinstance(message, EndOfSource) else message.header.source


def session_of(message: Message) -> str:
    """The name of the run a message belongs to."""
    return message.session if isinstance(message, EndOfSource) else message.header.session


def key_of(message: Message) -> Key:
    """Source and number of a message, by which both ends of a queue know it."""
    return (message.source, END) if isinstance(message, EndOfSource) else (message.header.source, message.header.seq)


def table(data: bytes, dtype: np.dtype[np.void]) -> Table:
    """View raw rows as a read-only structured array.

    Raises:
        ValueError: the length is no multiple of the row size, or there are over ``MAX_OBJECTS`` rows.
    """
    if len(data) % dtype.itemsize or len(data) > MAX_OBJECTS * dtype.itemsize:
        raise ValueError(f"a table of {len(data)} bytes does not hold 0 to {MAX_OBJECTS} rows of {dtype.itemsize}")
    return np.frombuffer(data, dtype)


class Packet(NamedTuple):
    """A message and the picture that goes with it.

    Attributes:
        message: what is said.
        picture: (H, W) uint8 or uint16, read-only, as the header says; None with ``EndOfSource``.
    """

    message: Message
    picture: NDArray[np.uint8] | NDArray[np.uint16] | None = None
