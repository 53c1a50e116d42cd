"""Messages between stages: a key, a picture and the results that the stages have added so far.

Every message is a frozen msgspec Struct. Unknown fields, wrong types and impossible values are rejected while decoding,
so stages can rely on the types declared here. Tables of objects (detections, tracks) are sent as the raw bytes of a
structured array, which is exact, compact and needs no parsing.
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
"""Sequence number of the end of a source, larger than that of any frame."""
IDENTITY: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

# Coordinates in px of the source frame: x to the right, y down, (0, 0) at the centre of the top-left pixel.
_OBJECT_COLUMNS = [(name, "<f8") for name in ("score", "area", "bx", "by", "bw", "bh", "snr")]
# motion: 0 if the score is from the network; otherwise the score is based on a change from past frames, and this is the
# significance of the change in standard deviations.
# appearance: log-likelihood ratio (nats) of target against clutter, given how the object looks in this frame.
DETECTION_DTYPE = np.dtype([("x", "<f8"), ("y", "<f8"), *_OBJECT_COLUMNS, ("motion", "<f8"), ("appearance", "<f8")])
TRACK_DTYPE = np.dtype(
    [("id", "<i8"), ("state", "<i8"), ("x", "<f8"), ("y", "<f8"), ("vx", "<f8"), ("vy", "<f8"), *_OBJECT_COLUMNS]
)
# Tables of pixels; "at" is the flat row-major index of a pixel.
# EXCEEDING_DTYPE: pixels whose change is near or above the detection threshold. "significance" is the magnitude of the
# change and "over" its excess over the threshold, both in standard deviations.
# REPLACED_DTYPE: pixels that do not show the scene. "count" is the value that replaces that of the pixel.
EXCEEDING_DTYPE = np.dtype([("at", "<i8"), ("over", "<f4"), ("significance", "<f4")])
REPLACED_DTYPE = np.dtype([("at", "<i8"), ("count", "<f4")])
TRACK_STATES = ("tentative", "confirmed", "coasting")
TENTATIVE, CONFIRMED, COASTING = range(3)


class _Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all message structs."""


class Stamp(_Message, frozen=True):
    """Times at which a message entered and left a stage, in monotonic ns of the machine on which the stage runs."""

    stage: str
    enter_ns: Nanoseconds
    leave_ns: Nanoseconds


class FrameHeader(_Message, frozen=True):
    """Key, timestamps and picture layout of a frame.

    Attributes:
        session: random name of this run; messages of another session are rejected.
        source: id of the source, also the name of its output folder.
        seq: number of the captured frame within the source, from 0 without gaps.
        frame: index in the medium, from 0; differs from ``seq`` if the medium itself skipped frames.
        pts: media time in seconds, used by motion models.
        capture_mono_ns: monotonic time of capture in ns, used for durations.
        capture_wall_ns: Unix time of capture in ns, used for display and records.
        height, width: size of the picture in px.
        dtype: pixel type of the picture.
        bit_depth: bits in use, 1 to 8 for uint8 and 9 to 16 for uint16.
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
        """Required length of the raw picture in bytes."""
        return self.height * self.width * np.dtype(self.dtype).itemsize


class EgoMotion(_Message, frozen=True):
    """Estimated camera motion since the previous frame of the same source.

    Attributes:
        matrix: affine transform (a, b, tx, c, d, ty) with x' = a x + b y + tx, y' = c x + d y + ty, from coordinates of
            the previous frame to those of this frame. Identity if nothing is known.
        inliers: number of points that agree with the transform.
        residual: RMS distance of the inliers in px.
        ok: whether the transform can be trusted.
        method: estimation method.
        since: ``seq`` of the previous frame; None if there was none, or if the motion is the same from any frame.
    """

    matrix: Affine = IDENTITY
    inliers: Count = 0
    residual: float = 0.0
    ok: bool = False
    method: Literal["flow", "ecc", "none"] = "none"
    since: Count | None = None


class Intensity(_Message, frozen=True):
    """Statistics to convert native counts to the z-score of their frame: (picture - mean) * gain."""

    mean: float
    gain: Annotated[float, Meta(gt=0)]


class Frame(_Message, frozen=True, tag="frame"):
    """Output of capture: header of a picture, which is part 2 of the wire message."""

    header: FrameHeader


class Moving(_Message, frozen=True):
    """Motion evidence of a frame, from the comparison with past frames of its source.

    Attributes:
        change: (H, W) uint8 in row-major order: quantised magnitude of the change of each pixel, see
            ``nets.normalisation.change_picture``.
        exceeding: pixels whose change is near or above the threshold, as rows of ``EXCEEDING_DTYPE`` ordered by index.
        mended: replaced stuck pixels of the sensor, as rows of ``REPLACED_DTYPE`` ordered by index.
        sharp: (m,) float32 in ascending order: sharpness in counts at the largest changes, the reference values of
            ``pipeline.moving.sharpness.Sharpness``.
        weight: factor from 0 to 1 applied to the log-likelihood ratio of sharpness.
    """

    change: bytes
    exceeding: bytes
    mended: bytes
    sharp: bytes
    weight: Annotated[float, Meta(ge=0, le=1)]

    def exceeding_table(self) -> Table:
        """Return the exceeding pixels as a read-only structured array of shape (n,)."""
        return table(self.exceeding, EXCEEDING_DTYPE)

    def mended_table(self) -> Table:
        """Return the stuck pixels as a read-only structured array of shape (n,)."""
        return table(self.mended, REPLACED_DTYPE)


class Prepared(_Message, frozen=True, tag="prepared"):
    """Output of preprocess: intensity statistics for the network, ego-motion and evidence of motion; same picture.

    Attributes:
        moving: evidence of motion; None if it is disabled or not available.
        hidden: defects of the sensor and burnt-in graphics, which the network must not see, as rows of
            ``REPLACED_DTYPE`` ordered by index, in white-hot counts.
        black_hot: whether hot objects are dark in the picture. All results refer to the inverted picture.
    """

    header: FrameHeader
    intensity: Intensity
    ego: EgoMotion
    moving: Moving | None = None
    hidden: bytes = b""
    black_hot: bool = False

    def hidden_table(self) -> Table:
        """Return the hidden pixels as a read-only structured array of shape (n,)."""
        return table(self.hidden, REPLACED_DTYPE)


class Detected(_Message, frozen=True, tag="detected"):
    """Output of detect.

    Attributes:
        detections: detections of the frame as rows of ``DETECTION_DTYPE``.
        noisy: degree to which the changes in the frame are noise rather than clutter, 0 to 1; 0 if not known.
    """

    header: FrameHeader
    ego: EgoMotion
    detections: bytes
    noisy: Annotated[float, Meta(ge=0, le=1)] = 0.0

    def table(self) -> Table:
        """Return the detections as a read-only structured array of shape (n,)."""
        return table(self.detections, DETECTION_DTYPE)


class Tracked(_Message, frozen=True, tag="tracked"):
    """Output of track: the detections, and the tracks after their update as rows of ``TRACK_DTYPE``.

    Attributes:
        restarts: number of times that the track stage has died and restarted without its earlier tracks.
    """

    header: FrameHeader
    ego: EgoMotion
    detections: bytes
    tracks: bytes
    restarts: Count = 0

    def detection_table(self) -> Table:
        """Return the detections as a read-only structured array of shape (n,)."""
        return table(self.detections, DETECTION_DTYPE)

    def track_table(self) -> Table:
        """Return the tracks as a read-only structured array of shape (n,)."""
        return table(self.tracks, TRACK_DTYPE)


class EndOfSource(_Message, frozen=True, tag="end"):
    """The last message of a source, sent in band. A run has drained once it has arrived from every source.

    Attributes:
        reason: ``finished`` (end of the medium), ``stopped`` (on request) or ``failed`` (see ``error``).
        error: error message of one line, empty unless failed.
        captured: total number of captured frames.
        dropped: number of frames dropped right after capture, by cause.
    """

    session: SessionName
    source: SourceId
    reason: Literal["finished", "stopped", "failed"]
    error: str = ""
    captured: Count = 0
    dropped: dict[str, Count] = {}


Message = Frame | Prepared | Detected | Tracked | EndOfSource


def source_of(message: Message) -> str:
    """Return the id of the source to which a message belongs."""
    return message.source if isinstance(message, EndOfSource) else message.header.source


def session_of(message: Message) -> str:
    """Return the name of the run to which a message belongs."""
    return message.session if isinstance(message, EndOfSource) else message.header.session


def key_of(message: Message) -> Key:
    """Return the source and number of a message, which identify it at both ends of a queue."""
    return (message.source, END) if isinstance(message, EndOfSource) else (message.header.source, message.header.seq)


def table(data: bytes, dtype: np.dtype[np.void]) -> Table:
    """View raw rows as a read-only structured array.

    Raises:
        ValueError: the length is not a multiple of the row size, or there are more than ``MAX_OBJECTS`` rows.
    """
    if len(data) % dtype.itemsize or len(data) > MAX_OBJECTS * dtype.itemsize:
        raise ValueError(f"a table of {len(data)} bytes does not hold 0 to {MAX_OBJECTS} rows of {dtype.itemsize}")
    return np.frombuffer(data, dtype)


class Packet(NamedTuple):
    """A message and its picture.

    Attributes:
        message: the message.
        picture: (H, W) uint8 or uint16, read-only, as declared in the header; None for ``EndOfSource``.
    """

    message: Message
    picture: NDArray[np.uint8] | NDArray[np.uint16] | None = None
