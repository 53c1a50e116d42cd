"""Targets keep their id when the camera jerks: large ones at once, point targets after a few frames if unambiguous."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.messages import CONFIRMED, DETECTION_DTYPE, TENTATIVE, TRACK_DTYPE, EgoMotion
from pipeline.track.appearance_cost import LARGE, appearance_cost
from pipeline.track.config import TrackConfig
from pipeline.track.jump import find_jumps
from pipeline.track.tracker import Tracker

SHAPE = (512, 640)


def rows(*things, dtype=DETECTION_DTYPE):
    """Return rows with the given (x, y, area, snr)."""
    table = np.zeros(len(things), dtype)
    for name, values in zip(("x", "y", "area", "snr"), zip(*things, strict=True), strict=False):
        table[name] = values
    table["score"] = 0.99
    return table


def ids(frames, **settings):
    """Return per frame the id of the confirmed track at the first detection, 0 if there is no such track."""
    tracker, seen = Tracker(TrackConfig(**settings), 0.9, SHAPE), []
    for frame in frames:
        table = tracker.step(rows(*frame), 1 / 25, EgoMotion(ok=True))
        shown = table[table["state"] == CONFIRMED]
        at = [np.hypot(shown["x"] - x, shown["y"] - y) < 3 for x, y, *_ in frame[:1]]
        seen.append(int(shown["id"][at[0]][0]) if np.any(at) else 0)
    return seen


def flight(area, snr, jump, frames=40, at=20):
    """Move right by 5 px per frame, but left by ``jump`` px in each of the five frames from ``at`` on."""
    x = 200.0
    for k in range(frames):
        x += -jump if at <= k < at + 5 else 5.0
        yield x, 250.0, area, snr


def test_appearance_cost_by_hand():
    one, other = rows((0, 0, 100, 20), dtype=TRACK_DTYPE), rows((0, 0, 25, 10))
    by_area = math.log(4) ** 2 / (0.25 + 0.01 + 0.04)
    by_contrast = math.log(2) ** 2 / (0.64 + 1 / 400 + 1 / 100)
    assert appearance_cost(one, other) == pytest.approx([by_area + by_contrast])


@given(areas=st.tuples(*[st.integers(0, 400)] * 2), contrasts=st.tuples(*[st.floats(-100, 100, width=32)] * 2))
def test_appearance_cost_is_symmetric_and_zero_for_point_targets(areas, contrasts):
    looks = [(0, 0, *look) for look in zip(areas, contrasts, strict=True)]
    tracks, detections = rows(*looks, dtype=TRACK_DTYPE), rows(*looks)
    tracks["state"] = TENTATIVE
    there, back = appearance_cost(tracks, detections[::-1])
    assert there == pytest.approx(back)
    assert appearance_cost(tracks, detections).tolist() == [0, 0]
    if max(areas) < LARGE:
        assert there == 0
    tracks["state"] = CONFIRMED
    known = appearance_cost(tracks, detections[::-1])
    assert known.tolist() == [there * (areas[0] >= LARGE), back * (areas[1] >= LARGE)]


def test_a_jump_pairs_similar_targets_without_another_candidate():
    tracks = rows((100, 100, 100, 20), (400, 300, 30, 10), (500, 100, 4, 30), dtype=TRACK_DTYPE)
    detections = rows(
        (140, 100, 90, 25),  # fits the first track
        (120, 110, 3, 20),  # a point
        (380, 300, 28, 9),  # these two are ambiguous for the second track
        (420, 310, 35, 12),
        (510, 100, 4, 30),  # point targets do not jump
        (170, 100, 95, 20),  # too far
    )
    places = np.stack([tracks["x"], tracks["y"]], axis=1)
    found = find_jumps(tracks, places, np.arange(3), detections, np.arange(6), reach_px=60.0)
    assert [part.tolist() for part in found] == [[0], [0]]
    assert [part.tolist() for part in find_jumps(tracks, places, np.arange(1, 3), detections, np.array([3]), 60.0)] == [
        [1],
        [3],
    ]
    assert [len(part) for part in find_jumps(tracks, places, np.arange(3), detections, np.arange(0), 60.0)] == [0, 0]


def test_a_detection_that_two_lost_tracks_may_have_become_is_given_to_neither():
    tracks = rows((100, 100, 90, 20), (120, 100, 90, 20), dtype=TRACK_DTYPE)
    tracks["state"] = CONFIRMED
    places = np.stack([tracks["x"], tracks["y"]], axis=1)
    detections = rows((110, 130, 90, 20))
    for missed, found in (([0, 1], []), ([1], [1])):
        pairs = find_jumps(tracks, places, np.array(missed), detections, np.array([0]), reach_px=60.0)
        assert pairs[0].tolist() == found


@pytest.mark.parametrize(("area", "snr"), [(150, 30), (20, 4)])
def test_a_large_target_keeps_its_id_when_the_camera_jerks(area, snr):
    seen = ids([[thing] for thing in flight(area, snr, jump=40.0)])
    assert set(seen[12:]) == {seen[12]} != {0}


@pytest.mark.parametrize(("lasts", "nats"), [(4, 32.0), (5, 40.0)])
def test_a_large_target_is_not_associated_with_a_speck_at_its_predicted_position(lasts, nats):
    """Unless the speck is confirmed, since it may then be a target covered by the large one."""
    things = list(flight(150, 30, jump=9.0))
    beside = [[(thing[0] + 14.0, 252.0, 2, 5)] if 20 <= k < 20 + lasts else [] for k, thing in enumerate(things)]
    seen = ids([[thing, *speck] for thing, speck in zip(things, beside, strict=True)], motion_evidence=nats)
    assert set(seen[12:]) == {seen[12]} != {0}


def test_a_point_target_does_not_jump():
    seen = ids([[thing] for thing in flight(4, 30, jump=40.0)])
    assert seen[20:25] == [0] * 5


def jumping_point(*others, jump=-40.0, snr=30, missed=0):
    """Yield a point that moves right by 5 px per frame, jumps after 20 frames and moves on, with others nearby."""
    for k in range(35):
        x = 200.0 + 5.0 * k + (jump if k >= 20 else 0.0)
        seen = [(x, 250.0, 4, snr if k >= 20 else 30)] if not 20 <= k < 20 + missed else []
        yield [*seen, *((x + dx, 250.0 + dy, 4, 30) for dx, dy in others if k >= 20)]


def test_a_point_target_keeps_its_id_after_staying_at_its_new_place():
    seen = ids(jumping_point())
    assert seen[19] > 0
    assert seen[20:] == [0, 0, *[seen[19]] * 13]


def test_no_track_remains_where_a_point_target_jumped_from():
    tracker = Tracker(TrackConfig(), 0.9, SHAPE)
    for k, frame in enumerate(jumping_point()):
        table = tracker.step(rows(*frame), 1 / 25, EgoMotion(ok=True))
        shown = table[table["state"] != TENTATIVE]
        assert k < 10 or len(shown) == 1
    assert shown["x"] == pytest.approx(frame[0][0], abs=1)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(jumping_point((0, 30)), id="two candidates appear"),
        pytest.param(jumping_point(jump=80.0), id="too far"),
        pytest.param(jumping_point(snr=-30), id="contrast of opposite sign"),
        pytest.param(jumping_point(missed=3), id="appears later than it was lost"),
        pytest.param(
            (frame + [(200.0 + 5 * k, 280.0, 4, 30)] * (k < 20) for k, frame in enumerate(jumping_point())),
            id="two targets are lost",
        ),
    ],
)
def test_an_ambiguous_point_target_gets_a_new_id(frames):
    seen = ids(frames)
    assert seen[19] > 0
    assert seen[19] not in seen[20:]
    assert any(seen[20:])


def test_tentative_tracks_do_not_jump():
    tracker = Tracker(TrackConfig(), 0.9, SHAPE)
    for x in (100.0, 140.0, 180.0, 220.0, 260.0, 300.0):
        table = tracker.step(rows((x, 250.0, 150, 30)), 1 / 25, EgoMotion(ok=True))
    assert (table["state"] == TENTATIVE).all()


@pytest.mark.parametrize("pan", [0, 40, -40])
@pytest.mark.parametrize("jump", [50, 80])
def test_the_longest_jump_is_independent_of_a_known_pan(pan, jump):
    """The longest jump is 64 px in scene coordinates, whatever the camera motion in that frame."""
    tracker, x = Tracker(TrackConfig(max_gate_px=15.0), 0.9, SHAPE), 300.0
    for k in range(11):
        jerk = k == 10
        x += (pan + jump) * jerk
        ego = EgoMotion(matrix=(1.0, 0.0, float(pan * jerk), 0.0, 1.0, 0.0), ok=True)
        table = tracker.step(rows((x, 250.0, 40, 20)), 1 / 25, ego)
        if jerk:
            found = (table["state"] == CONFIRMED) & (np.abs(table["x"] - x) < 3)
            assert found.any() == (jump <= 64)
