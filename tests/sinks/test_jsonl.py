from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.messages import COASTING, TENTATIVE, EgoMotion
from pipeline.sinks.jsonl import detections_line, tracks_line
from tests.messages import tracked

TRACK = {
    "id": 7,
    "state": COASTING,
    "x": 10.00049,
    "y": 20.25,
    "vx": -0.0001,
    "vy": 3.33333,
    "score": 0.87654,
    "area": 4,
    "bx": 9,
    "by": 19,
    "bw": 3,
    "bh": 2,
    "snr": 5.4321,
}
OBJECT = {name: TRACK[name] for name in TRACK if name not in ("id", "state", "vx", "vy")}


def test_tracks_line_matches_expected_json():
    ego = EgoMotion(matrix=(1.0, 0.00000004, 2.5, -0.001, 1.0, -1.23456789), inliers=42, residual=0.2, ok=True)
    line = tracks_line(tracked([TRACK], seq=3, ego=ego))
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "source": "a",
        "frame": 3,
        "pts": 0.12,
        "tracks": [
            {
                "id": 7,
                "x": 10.0,
                "y": 20.25,
                "vx": 0.0,
                "vy": 3.333,
                "state": "coasting",
                "score": 0.8765,
                "area": 4.0,
                "bbox": [9.0, 19.0, 3.0, 2.0],
                "snr": 5.43,
            }
        ],
        "ego": {"matrix": [1.0, 0.0, 2.5, -0.001, 1.0, -1.2345679], "inliers": 42, "ok": True},
    }
    assert b"-0.0," not in line


def test_detections_line_matches_expected_json():
    looks = {"x": 10.0, "y": 20.25, "score": 0.8765, "area": 4.0, "bbox": [9.0, 19.0, 3.0, 2.0], "snr": 5.43}
    moving = {**OBJECT, "motion": 6.7812, "appearance": -1.2345}
    assert json.loads(detections_line(tracked([TRACK], [moving], seq=3))) == {
        "source": "a",
        "frame": 3,
        "pts": 0.12,
        "detections": [{**looks, "motion": 6.78, "appearance": -1.23}],
    }


def test_empty_frame_has_a_line():
    assert json.loads(tracks_line(tracked(seq=9)))["tracks"] == []
    assert json.loads(detections_line(tracked(seq=9)))["detections"] == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", ["x", "vy", "snr", "bw"])
def test_non_finite_values_are_refused(column, value):
    with pytest.raises(StageError, match=r"source a frame 5: \w+ is not a finite number"):
        tracks_line(tracked([TRACK, TRACK | {column: value}], seq=5))


def test_non_finite_ego_motion_is_refused():
    with pytest.raises(StageError, match="ego matrix"):
        tracks_line(tracked(ego=EgoMotion(matrix=(1.0, 0.0, math.nan, 0.0, 1.0, 0.0))))


numbers = st.floats(-1e5, 1e5)


@given(st.lists(st.tuples(numbers, numbers, numbers, st.floats(0, 1)), max_size=20))
@settings(max_examples=50, deadline=None)
def test_values_read_back_within_rounding(values):
    tracks = [
        {"id": i, "state": TENTATIVE, "x": x, "y": y, "vx": v, "score": s} for i, (x, y, v, s) in enumerate(values)
    ]
    read = msgspec.json.decode(tracks_line(tracked(tracks)))["tracks"]
    assert [t["id"] for t in read] == list(range(len(values)))
    for name, step in (("x", 1e-3), ("y", 1e-3), ("vx", 1e-3), ("score", 1e-4)):
        given_values = np.array([t[name] for t in tracks])
        assert np.abs(given_values - [t[name] for t in read]).max(initial=0) <= step / 2 + 1e-9
