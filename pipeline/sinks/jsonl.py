"""Tracks and detections as JSON Lines, one line per frame."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from pipeline.errors import StageError
from pipeline.messages import TRACK_STATES, EgoMotion, FrameHeader, Table, Tracked

# Number of decimals: 1/1000 px for positions, and a useful precision for scores and ratios.
_DECIMALS = {
    "x": 3,
    "y": 3,
    "vx": 3,
    "vy": 3,
    "score": 4,
    "area": 1,
    "bx": 2,
    "by": 2,
    "bw": 2,
    "bh": 2,
    "snr": 2,
    "motion": 2,
    "appearance": 2,
}
_encode = msgspec.json.Encoder().encode


def tracks_line(message: Tracked) -> bytes:
    """Return the line of ``tracks.jsonl`` for a frame.

    ``restarts`` is present only after the tracker was restarted. All earlier tracks end where its value increases.

    Raises:
        StageError: a value is not finite.
    """
    header = message.header
    rows = _rows(message.track_table(), header)
    for row in rows:
        row["state"] = TRACK_STATES[row["state"]]
    restarts = {"restarts": message.restarts} if message.restarts else {}
    return _line({**_key(header), "tracks": rows, "ego": _ego(message.ego, header), **restarts})


def detections_line(message: Tracked) -> bytes:
    """Return the line of ``detections.jsonl`` for a frame.

    Raises:
        StageError: a value is not finite.
    """
    header = message.header
    return _line({**_key(header), "detections": _rows(message.detection_table(), header)})


def _line(record: dict[str, Any]) -> bytes:
    return _encode(record) + b"\n"


def _key(header: FrameHeader) -> dict[str, Any]:
    return {"source": header.source, "frame": header.frame, "pts": _finite(header.pts, 6, "pts", header)}


def _ego(ego: EgoMotion, header: FrameHeader) -> dict[str, Any]:
    matrix = [_finite(value, 7, "ego matrix", header) for value in ego.matrix]
    return {"matrix": matrix, "inliers": ego.inliers, "ok": ego.ok}


def _rows(table: Table, header: FrameHeader) -> list[dict[str, Any]]:
    """Convert a table to rounded rows, with the box as one list."""
    columns: dict[str, list[Any]] = {}
    for name in table.dtype.names or ():
        values = table[name]
        if name in _DECIMALS:
            if not np.isfinite(values).all():
                raise _not_finite(name, header)
            values = np.round(values, _DECIMALS[name]) + 0.0  # avoid -0.0
        columns[name] = values.tolist()
    box = zip(*(columns.pop(side) for side in ("bx", "by", "bw", "bh")), strict=True)
    columns["bbox"] = [list(sides) for sides in box]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _finite(value: float, decimals: int, name: str, header: FrameHeader) -> float:
    if not np.isfinite(value):
        raise _not_finite(name, header)
    return round(value, decimals) + 0.0


def _not_finite(name: str, header: FrameHeader) -> StageError:
    return StageError(f"source {header.source} frame {header.frame}: {name} is not a finite number")
