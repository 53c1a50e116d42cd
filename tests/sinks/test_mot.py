from __future__ import annotations

from pipeline.messages import COASTING, CONFIRMED, TENTATIVE
from pipeline.sinks.mot import mot_lines
from tests.messages import tracked


def test_confirmed_and_coasting_tracks_by_hand():
    tracks = [
        {"id": 3, "state": CONFIRMED, "x": 10.0, "y": 20.0, "bw": 3, "bh": 5, "score": 0.75},
        {"id": 4, "state": TENTATIVE, "x": 30.0, "y": 30.0},
        {"id": 5, "state": COASTING, "x": -1.0, "y": 0.25, "bw": 1, "bh": 1},
    ]
    # The pixel (10, 20) covers 10..11 by 20..21 in pixel edges: a 3x5 box around it starts at (9, 18).
    assert mot_lines(tracked(tracks, seq=0)) == b"1,3,9.00,18.00,3.00,5.00,0.7500,-1,-1,-1\n" + (
        b"1,5,-1.00,0.25,1.00,1.00,0.0000,-1,-1,-1\n"
    )


def test_frames_without_tracks_leave_no_line():
    assert mot_lines(tracked([{"state": TENTATIVE}])) == b""
