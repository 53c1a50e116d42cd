"""Messages as the track stage would send them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.messages import (
    CONFIRMED,
    DETECTION_DTYPE,
    TRACK_DTYPE,
    EgoMotion,
    EndOfSource,
    FrameHeader,
    Packet,
    Stamp,
    Tracked,
)

OK = EgoMotion(ok=True, inliers=50, method="flow")


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


def tracked(tracks=(), detections=(), *, source="a", frame=0, shape=(64, 80), dtype="uint8", ego=OK, captured=0):
    """A message; ``tracks`` and ``detections`` are dicts of columns."""
    stamps = (Stamp(stage="detect", enter_ns=captured + 1_000_000, leave_ns=captured + 3_000_000),)
    header = FrameHeader(
        session="s",
        source=source,
        seq=frame,
        frame=frame,
        pts=frame / 25,
        capture_mono_ns=captured,
        capture_wall_ns=1,
        height=shape[0],
        width=shape[1],
        dtype=dtype,
        bit_depth=8 if dtype == "uint8" else 16,
        stamps=stamps,
    )
    return Tracked(
        header=header,
        ego=ego,
        detections=rows(DETECTION_DTYPE, *detections).tobytes(),
        tracks=rows(TRACK_DTYPE, *tracks).tobytes(),
    )


def packet(*args, **kwargs):
    """A message and a flat picture for it."""
    message = tracked(*args, **kwargs)
    return Packet(message, np.full((message.header.height, message.header.width), 100, message.header.dtype))


def end(source="a", **kwargs):
    """The end of a source."""
    return Packet(EndOfSource(session="s", source=source, **{"reason": "finished", **kwargs}))


def descriptors():
    """Paths of the files this process has open, by descriptor."""
    return {int(link.name): str(link.resolve()) for link in Path("/proc/self/fd").iterdir()}


def video_length(path):
    """Frames that can be read from a video."""
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = 0
    while video.read()[0]:
        count += 1
    return count
