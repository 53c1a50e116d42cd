"""Two targets that merge into one detection for a while keep their ids."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pipeline.messages import COASTING, CONFIRMED
from pipeline.track.imm import IMMState
from pipeline.track.occlusion import MAX_OCCLUDED_S, MERGED_PX, find_occlusions
from pipeline.track.tracker import Tracker
from tests.track.scenes import CONFIG, DT, STILL, detections, play


def states(*tracks, cruise=0.95):
    """Return states of targets (x, y, vx, vy) in px and px/s."""
    mean = np.array(tracks, float)[:, None].repeat(2, axis=1)
    cov = np.eye(4)[None, None].repeat(len(tracks), axis=0).repeat(2, axis=1)
    return IMMState(mean, cov, np.tile([cruise, 1 - cruise], (len(tracks), 1)))


PASSING = states((50, 50, 12, 0), (52, 50, -12, 0))
BOTH, NEITHER = np.array([True, True]), np.array([False, False])
FIRST, AT = np.array([0]), np.array([[51.0, 50.0]])


def test_a_detection_within_reach_of_two_tracks_is_merged():
    merged, occluded = find_occlusions(PASSING, BOTH, NEITHER, FIRST, AT)
    assert merged.tolist() == [True]
    assert occluded.tolist() == [False, True]


def test_two_detections_are_not_merged():
    rows, positions = np.array([0, 1]), np.array([[50.0, 50.0], [52.0, 50.0]])
    merged, occluded = find_occlusions(PASSING, BOTH, NEITHER, rows, positions)
    assert not merged.any() and not occluded.any()


@pytest.mark.parametrize("gap", [MERGED_PX - 0.1, MERGED_PX + 0.1])
def test_a_merged_detection_lies_within_reach_of_both_tracks(gap):
    merged, occluded = find_occlusions(PASSING, BOTH, NEITHER, FIRST, np.array([[52.0 - gap, 50.0]]))
    assert merged.tolist() == [gap < MERGED_PX] and occluded.tolist() == [False, gap < MERGED_PX]


@pytest.mark.parametrize("shown", [(True, False), (False, True)])
def test_tentative_tracks_neither_occlude_nor_are_occluded(shown):
    merged, occluded = find_occlusions(PASSING, np.array(shown), NEITHER, FIRST, AT)
    assert not merged.any() and not occluded.any()


@pytest.mark.parametrize("jittery", [0, 1])
def test_both_targets_must_cruise(jittery):
    weight = np.full((2, 2), (0.95, 0.05))
    weight[jittery] = 0.3, 0.7
    assert not find_occlusions(PASSING._replace(weight=weight), BOTH, NEITHER, FIRST, AT)[1].any()


@pytest.mark.parametrize(
    "pieces",
    [
        states((50, 50, 12, 0), (52, 50, 10, 0)),  # they move alike
        states((50, 50, 12, 0), (52, 50, -12, 0), cruise=0.3),  # they jitter
    ],
)
def test_pieces_of_one_target_do_not_occlude_each_other(pieces):
    merged, occluded = find_occlusions(pieces, BOTH, NEITHER, FIRST, AT)
    assert merged.tolist() == [True] and not occluded.any()


def test_an_occluded_track_stays_occluded_when_the_velocities_converge():
    pieces = states((50, 50, 12, 0), (52, 50, 10, 0))
    assert find_occlusions(pieces, BOTH, np.array([False, True]), FIRST, AT)[1].tolist() == [False, True]


def test_no_tracks_give_no_occlusion():
    merged, occluded = find_occlusions(PASSING.select(FIRST[:0]), BOTH[:0], BOTH[:0], FIRST[:0], AT[:0])
    assert merged.shape == occluded.shape == (0,)


def encounter(speed, apart, frames=240, seed=0):
    """Return detections and truth of two targets that pass head-on, with one detection while they are near."""
    rng = np.random.default_rng(seed)
    scene, truth = [], []
    for t in range(frames):
        x = speed * (t - frames / 2)
        ones = np.array([[160 + x, 120 + 0.5 * x], [160 - x, 121 - 0.5 * x]])
        seen = ones if np.hypot(*(ones[0] - ones[1])) > apart else ones.mean(axis=0, keepdims=True)
        scene.append(detections(seen + rng.normal(0, 0.2, seen.shape)))
        truth.append(ones)
    return scene, truth


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("speed", [0.15, 0.2, 0.5, 1.0])
def test_targets_that_meet_head_on_keep_their_ids(speed, seed):
    scene, truth = encounter(speed, apart=4.5, seed=seed)
    out = play(scene, dt=1 / 25)
    ids = []
    for frame in (30, -1):
        assert len(out[frame]) == 2
        places = np.stack([out[frame]["x"], out[frame]["y"]], axis=1)
        nearest = np.hypot(*(places[:, None] - truth[frame]).transpose(2, 0, 1)).argmin(axis=0)
        ids.append(out[frame]["id"][nearest].tolist())
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_an_occluded_track_coasts_for_a_limited_time():
    both = [detections([[140 + 0.2 * t, 100.0], [180 - 0.2 * t, 100.0]]) for t in range(90)]
    follower = [detections([[140 + 0.2 * t, 100.0]]) for t in range(90, 300)]
    config = msgspec.structs.replace(CONFIG, max_coast_s=0.2)
    tracker = Tracker(config, shape=(256, 320))
    out = [tracker.step(frame, DT, STILL) for frame in (*both, *follower)]
    assert [int(state) for state in out[92]["state"]] == [CONFIRMED, COASTING]
    kept = [len(frame) == 2 for frame in out[90:]]
    near = round(2 * MERGED_PX / 0.4)  # number of frames in which they are within reach of each other
    assert near - 5 <= sum(kept) <= (MAX_OCCLUDED_S + 0.2) / DT + 1
    assert not kept[-1]


def test_occlusion_does_not_count_as_misses():
    """A target seen for eight frames passes behind another one for a second."""
    stands, places = [158.0, 100.0], [[151.15 + 0.3 * t, 100.0] for t in range(60)]
    frames = [[stands] if abs(place[0] - 158) < 4.5 else [stands, place] for place in places]
    tracker = Tracker(CONFIG, shape=(256, 320))
    for _ in range(20):
        tracker.step(detections([stands]), DT, STILL)
    out = [tracker.step(detections(frame), DT, STILL) for frame in frames]
    assert [len(frame) for frame in frames[:8]] == [2] * 8 and [len(frame) for frame in frames].count(1) == 30
    assert [frame["id"].tolist() for frame in out[4:]] == [[1, 2]] * 56
