"""The tracker on scenes with known ground truth."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.messages import COASTING, CONFIRMED, TENTATIVE, TRACK_DTYPE, EgoMotion
from pipeline.track.tracker import Tracker
from tests.track.scenes import CONFIG, DT, STILL, detections, play, wander


def test_a_straight_target_is_confirmed_with_the_right_velocity():
    out = play([detections([[10 + 2 * t, 50 - t]]) for t in range(40)])
    assert [len(t) for t in out] == [1] * 40
    assert [int(t["state"][0]) for t in out[:4]] == [TENTATIVE, TENTATIVE, CONFIRMED, CONFIRMED]
    last = out[-1][0]
    assert last["id"] == 1
    assert (last["x"], last["y"]) == pytest.approx((88, 11), abs=0.05)
    assert (last["vx"], last["vy"]) == pytest.approx((60, -30), abs=1.0)


def test_the_output_contains_the_columns_of_the_detection():
    row = play([detections([[10, 20]], score=0.7, area=12, snr=6.5)])[0][0]
    assert row.dtype == TRACK_DTYPE
    assert [row[n] for n in ("x", "y", "score", "area", "bx", "by", "bw", "bh", "snr")] == [
        10, 20, 0.7, 12, 8, 18, 4, 4, 6.5
    ]  # fmt: skip


def test_coasting_moves_the_box_and_keeps_the_other_columns():
    seen = [detections([[10 + 2 * t, 50]], score=0.8, snr=t) for t in range(20)]
    out = play([*seen, *[detections([])] * 8, *[detections([[10 + 2 * t, 50]]) for t in range(28, 32)]])
    for t in range(20, 28):
        row = out[t][0]
        assert (row["id"], row["state"], row["score"], row["snr"]) == (1, COASTING, 0.8, 19)
        assert row["x"] == pytest.approx(10 + 2 * t, abs=0.5)
        assert row["bx"] - (8 + 2 * 19) == pytest.approx(row["x"] - out[19][0]["x"], abs=1e-9)
    assert [(len(o), int(o["id"][0]), int(o["state"][0])) for o in out[28:]] == [(1, 1, CONFIRMED)] * 4


@pytest.mark.parametrize("far", [15, 25, 35])
def test_a_lone_detection_in_the_wide_gate_of_a_lost_track_does_not_continue_it(far):
    circle = [[100 + 20 * math.sin(t / 6), 60 + 20 * math.cos(t / 6)] for t in range(49)]
    seen = [detections([place]) for place in circle[:40]]
    out = play([*seen, *[detections([])] * 8, detections([[circle[48][0] + far, circle[48][1]]])])
    assert [(int(t["id"]), int(t["state"])) for t in out[-1]] == [(1, COASTING), (2, TENTATIVE)]


@pytest.mark.parametrize("fps", [10, 30, 120])
def test_the_coasting_limit_holds_at_any_frame_rate(fps):
    config = msgspec.structs.replace(CONFIG, max_coast_s=0.5)
    frames = [detections([[50, 50]])] * fps + [detections([])] * fps
    out = play(frames, config, dt=1 / fps)
    assert sum(len(t) for t in out[fps:]) == fps // 2


@pytest.mark.parametrize("fps", [2.0, 1.9, 1.0, 0.5])
def test_tracks_survive_frame_intervals_longer_than_the_coasting_limit(fps):
    seen, nothing = detections([[50, 50]]), detections([])
    out = play([seen] * 12 + [nothing] * 3, dt=1 / fps)
    assert [int(t["id"][0]) for t in out[:12]] == [1] * 12
    assert [int(t["state"][0]) for t in out[2:12]] == [CONFIRMED] * 10
    assert [len(t) for t in out[12:]] == [1, 0, 0]


@pytest.mark.parametrize("hits", range(3, 40))
def test_a_track_coasts_no_longer_than_it_had_been_seen(hits):
    out = play([detections([[50, 50]])] * hits + [detections([])] * 40)
    assert sum(len(t) for t in out[hits:]) == min(hits, round(CONFIG.max_coast_s / DT))


@pytest.mark.parametrize(
    ("start", "step"), [((60, 100), (-2, 0)), ((140, 100), (2, 0)), ((100, 60), (0, -2)), ((100, 140), (0, 2))]
)
def test_a_track_ends_where_it_leaves_the_picture(start, step):
    tracker = Tracker(CONFIG, shape=(200, 200))
    for t in range(40):
        place = np.add(start, np.multiply(step, t))
        inside = ((place >= 0) & (place <= 199)).all()
        tracks = tracker.step(detections([place] if inside else []), DT, STILL)
        assert len(tracks) == inside, t
    assert not inside


def test_a_target_at_the_edge_is_kept_as_long_as_it_is_seen():
    tracker = Tracker(CONFIG, shape=(200, 200))
    pushed = EgoMotion(matrix=(1, 0, -3.0, 0, 1, 0), ok=True)  # the true motion is the opposite
    for _ in range(30):
        tracks = tracker.step(detections([[0, 100]]), DT, pushed)
    assert (tracks["id"].tolist(), tracks["state"].tolist()) == ([1], [CONFIRMED])


def test_a_single_detection_is_dropped_unconfirmed():
    out = play([detections([[50, 50]]), *[detections([])] * 5])
    assert [len(t) for t in out] == [1, 1, 0, 0, 0, 0]
    assert all((t["state"] == TENTATIVE).all() for t in out)


def test_low_scores_never_start_a_track():
    out = play([detections(points, score=CONFIG.high_score - 0.01) for points in wander(0)])
    assert sum(len(t) for t in out) == 0


def test_scores_from_low_score_on_continue_a_confirmed_track():
    start = [detections([[50, 50]])] * 4
    kept = play([*start, *[detections([[50, 50]], score=CONFIG.low_score)] * 30])
    assert (kept[-1]["id"].tolist(), kept[-1]["state"].tolist()) == ([1], [CONFIRMED])
    lost = play([*start, *[detections([[50, 50]], score=CONFIG.low_score - 0.01)] * 30])
    assert len(lost[-1]) == 0


def test_low_scores_neither_continue_coasting_nor_confirm_tentative_tracks():
    low, high, nothing = detections([[50, 50]], score=CONFIG.low_score), detections([[50, 50]]), detections([])
    coasting = play([high, high, high, nothing, low, high])
    assert [int(t["state"][0]) for t in coasting[2:]] == [CONFIRMED, COASTING, COASTING, CONFIRMED]
    assert [len(t) for t in play([high, low, low, low])] == [1, 1, 0, 0]


def test_a_high_score_takes_precedence_over_a_nearer_low_score():
    tracker = Tracker(CONFIG)
    for _ in range(10):
        tracker.step(detections([[50, 50]]), DT, STILL)
    out = tracker.step(detections([[50, 50], [52, 50]], score=[0.3, 0.9]), DT, STILL)
    assert len(out) == 1 and out["score"][0] == 0.9


def test_crossing_targets_keep_their_ids():
    out = play([detections([[10 + 3 * t, 100 + 2 * t], [10 + 3 * t, 220 - 2 * t]]) for t in range(60)])
    assert all(t["id"].tolist() == [1, 2] for t in out)
    assert out[-1]["y"] == pytest.approx([218, 102], abs=0.5)


def test_distant_detections_are_not_associated():
    out = play([detections([[50, 50]]), detections([[120, 50]])])
    assert out[1]["id"].tolist() == [1, 2]
    assert out[1]["x"].tolist() == [50, 120]


def test_the_largest_gate_distance_holds_after_a_long_gap():
    config = msgspec.structs.replace(CONFIG, max_coast_s=5.0, max_gate_px=30.0)
    tracker = Tracker(config)
    for _ in range(10):
        tracker.step(detections([[50, 50]]), DT, STILL)
    out = tracker.step(detections([[85, 50]]), 4.0, STILL)
    assert out["id"].tolist() == [1, 2]


def test_a_gap_longer_than_the_coasting_limit_ends_all_tracks():
    tracker = Tracker(CONFIG)
    for _ in range(10):
        tracker.step(detections([[50, 50]]), DT, STILL)
    assert tracker.step(detections([[50, 50]]), 10.0, STILL)["id"].tolist() == [2]


def test_a_track_survives_dropped_frames():
    times = np.delete(np.arange(40), [11, 12, 13, 17, 22, 23, 24, 25, 30])
    tracker, previous = Tracker(CONFIG), 0
    for t in times:
        out = tracker.step(detections([[10 + 3 * t, 50 + t]]), (t - previous) * DT, STILL)
        previous = t
    assert out["id"].tolist() == [1]
    assert (out["vx"][0], out["vy"][0]) == pytest.approx((90, 30), abs=2)


@pytest.mark.parametrize("dt", [0.0, -1.0])
def test_a_stopped_or_reversed_clock_leaves_valid_tracks(dt):
    tracker = Tracker(CONFIG)
    for t in range(10):
        tracker.step(detections([[10 + 2 * t, 50]]), DT, STILL)
    out = tracker.step(detections([[28.5, 50]]), dt, EgoMotion(matrix=(1, 0, 0.5, 0, 1, 0), ok=True))
    assert out["id"].tolist() == [1]
    assert abs(out["vx"][0] - 60) < 20


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 50), data=st.data())
def test_the_order_of_detections_has_no_effect(seed, data):
    frames = [
        detections(p, score=np.random.default_rng(seed).uniform(0.1, 1, len(p)), snr=p[:, 0])
        for p in wander(seed, frames=20, clutter=4)
    ]
    shuffle = np.random.default_rng(data.draw(st.integers(0, 1000)))
    for a, b in zip(play(frames), play([shuffle.permutation(f) for f in frames]), strict=True):
        assert a.tobytes() == b.tobytes()


def test_equal_input_gives_identical_bytes():
    frames = [detections(p) for p in wander(9)]
    for a, b in zip(play(frames), play(frames), strict=True):
        assert a.tobytes() == b.tobytes()


def test_ids_start_at_one_and_are_never_reused_even_after_a_reset():
    tracker = Tracker(CONFIG)
    assert tracker.step(detections([[10, 10], [90, 90]]), DT, STILL)["id"].tolist() == [1, 2]
    tracker.reset((480, 640))
    assert tracker.step(detections([[10, 10]]), DT, STILL)["id"].tolist() == [3]


def test_two_hundred_targets_are_all_held():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(10)), axis=-1).reshape(-1, 2) * 40.0
    velocity = rng.uniform(-1, 1, grid.shape)
    out = play([detections(grid + velocity * t + rng.normal(0, 0.3, grid.shape)) for t in range(10)])
    assert all(sorted(t["id"].tolist()) == list(range(1, 201)) for t in out)


def test_returned_tracks_are_copies():
    tracker = Tracker(CONFIG)
    first = tracker.step(detections([[10, 10]]), DT, STILL)
    first["x"] = 999
    first["state"] = CONFIRMED
    second = tracker.step(detections([[10, 10]]), DT, STILL)
    assert second["x"][0] == pytest.approx(10) and second["state"][0] == TENTATIVE


@pytest.mark.parametrize("seed", range(4))
def test_a_track_fed_by_false_alarms_ends(seed):
    """The target disappears among random detections, ten per frame near its predicted position."""
    rng = np.random.default_rng(seed)
    config = msgspec.structs.replace(CONFIG, max_coast_s=0.5)
    target = [np.array([[60 + t, 80.0]]) for t in range(60)]
    chance = [rng.uniform([80, 40], [200, 120], (10, 2)) for _ in range(260)]
    tracker = Tracker(config, shape=(256, 320))
    out = [tracker.step(detections(points), DT, STILL) for points in (*target, *chance)]
    assert (out[59]["id"] == 1).any() and (out[59]["state"] == CONFIRMED).any()
    held = [bool((frame["id"] == 1).any()) for frame in out[60:]]
    assert not any(held[120:])


def test_a_target_detected_in_every_third_frame_is_kept():
    config = msgspec.structs.replace(CONFIG, max_coast_s=0.5)
    frames = [detections([[60 + t, 80.0]] if t < 30 or t % 3 == 0 else []) for t in range(200)]
    tracker = Tracker(config, shape=(256, 320))
    assert all((tracker.step(frame, DT, STILL)["id"] == 1).all() for frame in frames)


def test_a_track_confirmed_by_two_hits_survives_a_miss():
    config = msgspec.structs.replace(CONFIG, confirm_hits=2, confirm_window=2)
    tracker = Tracker(config, shape=(256, 320))
    for points in ([[50, 50]], [[50, 50]], [], [[50, 50]]):
        assert tracker.step(detections(points), DT, STILL)["id"].tolist() == [1]


def test_bad_input_is_refused():
    tracker = Tracker(CONFIG)
    with pytest.raises(ValueError, match="DETECTION_DTYPE"):
        tracker.step(np.zeros(3), DT, STILL)
    with pytest.raises(ValueError, match="dt: nan"):
        tracker.step(detections([]), math.nan, STILL)
    with pytest.raises(ValueError, match="centroid is not finite"):
        tracker.step(detections([[math.inf, 0]]), DT, STILL)
