from __future__ import annotations

import numpy as np

from pipeline.messages import CONFIRMED, IDENTITY, TENTATIVE, TRACK_DTYPE
from pipeline.sinks.trails import Trails
from tests.messages import rows


def at(x, y, state=CONFIRMED, id_=1):
    return rows(TRACK_DTYPE, {"id": id_, "state": state, "x": x, "y": y})


def test_the_past_moves_with_the_camera():
    trails = Trails(10.0)
    trails.update(at(10, 5), IDENTITY, 0.0)
    # A quarter turn and a shift: (10, 5) -> (-5 + 100, 10).
    trails.update(at(40, 41), (0.0, -1.0, 100.0, 1.0, 0.0, 0.0), 0.1)
    assert trails.of(1).tolist() == [[95, 10], [40, 41]]


def test_static_targets_stay_in_one_place():
    trails = Trails(10.0)
    for i in range(5):
        trails.update(at(50 + 3 * i, 20 - 2 * i), (1.0, 0.0, 3.0, 0.0, 1.0, -2.0), i / 25)
    assert np.ptp(trails.of(1), axis=0).tolist() == [0, 0]


def test_old_and_lost_tracks_are_forgotten():
    trails = Trails(1.0)
    for i in range(5):
        trails.update(at(i, 0), IDENTITY, i * 0.5)
    assert trails.of(1)[:, 0].tolist() == [2, 3, 4]
    trails.update(at(0, 0, id_=2), IDENTITY, 2.5)
    assert len(trails.of(1)) == 0


def test_tentative_tracks_leave_no_trail():
    trails = Trails(1.0)
    trails.update(at(3, 3, state=TENTATIVE), IDENTITY, 0.0)
    assert trails.of(1).shape == (0, 2)
