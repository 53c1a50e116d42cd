"""Packets as the stages send them: a test names what it is about, the rest is filled in."""

from __future__ import annotations

import numpy as np

from pipeline.messages import (
    CONFIRMED,
    DETECTION_DTYPE,
    TRACK_DTYPE,
    EgoMotion,
    EndOfSource,
    Frame,
    FrameHeader,
    Packet,
    Tracked,
)

SESSION = "test"
KNOWN = EgoMotion(ok=True, inliers=50, method="flow")


def frame_header(shape, dtype="uint8", *, source="a", seq=0, **fields):
    """The key of a picture of the given shape and type, 25 to the second."""
    facts = {"frame": seq, "pts": seq / 25, "capture_mono_ns": 1, "capture_wall_ns": 1}
    facts |= {"height": shape[0], "width": shape[1], "dtype": str(dtype), "bit_depth": 8 * np.dtype(dtype).itemsize}
    return FrameHeader(session=SESSION, source=source, seq=seq, **facts | fields)


def frame(picture, source="a", seq=0, **fields):
    """A picture as capture sends it."""
    header = frame_header(picture.shape, picture.dtype, source=source, seq=seq, **fields)
    return Packet(Frame(header=header), picture)


def rows(dtype, *records):
    """A table from dicts; columns not named are 0, boxes 3x3, tracks confirmed."""
    table = np.zeros(len(records), dtype)
    table["bw"] = table["bh"] = 3
    if "state" in (dtype.names or ()):
        table["state"] = CONFIRMED
    for row, record in zip(table, records, strict=True):
        for name, value in record.items():
            row[name] = value
    return table


def tracked(tracks=(), detections=(), *, shape=(64, 80), dtype="uint8", ego=KNOWN, restarts=0, **fields):
    """A message of the track stage; ``tracks`` and ``detections`` are dicts of columns."""
    return Tracked(
        header=frame_header(shape, dtype, **fields),
        ego=ego,
        detections=rows(DETECTION_DTYPE, *detections).tobytes(),
        tracks=rows(TRACK_DTYPE, *tracks).tobytes(),
        restarts=restarts,
    )


def tracked_packet(*args, **kwargs):
    """A message of the track stage and a flat picture for it."""
    message = tracked(*args, **kwargs)
    return Packet(message, np.full((message.header.height, message.header.width), 100, message.header.dtype))


def end(source="a", **fields):
    """The end of a source."""
    return Packet(EndOfSource(session=SESSION, source=source, **{"reason": "finished", **fields}))
