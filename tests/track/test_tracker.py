"""The tracker on scenes whose right answer is known."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.messages import COASTING, CONFIRMED, DETECTION_DTYPE, TENTATIVE, TRACK_DTYPE, EgoMotion
from pipeline.track.clutter import ClutterConfig
from pipeline.track.config import TrackConfig
from pipeline.track.tracker import Tracker

DT = 1 / 30
STILL = EgoMotion(ok=True)
CONFIG = TrackConfig(high_score=0.5, low_score=0.2, confirm_hits=3, clutter=ClutterConfig(enabled=False))


def detections(points, score=0.9, **columns):
    """Rows of detections at (n, 2) points, with a 4 x 4 box around each."""
    points = np.asarray(points, float).reshape(-1, 2)
    rows = np.zeros(len(points), DETECTION_DTYPE)
    rows["x"], rows["y"] = points.T
    rows["bx"], rows["by"], rows["bw"], rows["bh"] = points[:, 0] - 2, points[:, 1] - 2, 4, 4
    rows["score"], rows["area"], rows["snr"] = score, 9, 20
    for name, values in columns.items():
        rows[name] = values
    return rows


def play(frames, config=CONFIG, dt=DT, ego=STILL):
    tracker = Tracker(config)
    return [tracker.step(frame, dt, ego) for frame in frames]


def wander(seed, frames=60, targets=5, missed=0.1, clutter=2):
    """Detections (frames of (n, 2)) of targets that fly straight, with misses, noise and clutter."""
    rng = np.random.default_rng(seed)
    start, velocity = rng.uniform(100, 400, (targets, 2)), rng.uniform(-2, 2, (targets, 2))
    scene = []
    for t in range(frames):
        seen = rng.random(targets) >= missed
        points = (start + velocity * t)[seen] + rng.normal(0, 0.4, (seen.sum(), 2))
        scene.append(np.concatenate([points, rng.uniform(0, 500, (rng.poisson(clutter), 2))]))
    return scene


def test_a_straight_target_is_confirmed_and_its_velocity_found():
    out = play([detections([[10 + 2 * t, 50 - t]]) for t in range(40)])
    assert [len(t) for t in out] == [1] * 40
    assert [int(t["state"][0]) for t in out[:4]] == [TENTATIVE, TENTATIVE, CONFIRMED, CONFIRMED]
    last = out[-1][0]
    assert last["id"] == 1
    assert (last["x"], last["y"]) == pytest.approx((88, 11), abs=0.05)
    assert (last["vx"], last["vy"]) == pytest.approx((60, -30), abs=1.0)


def test_the_output_carries_what_the_detection_looked_like():
    row = play([detections([[10, 20]], score=0.7, area=12, snr=6.5)])[0][0]
    assert row.dtype == TRACK_DTYPE
    assert [row[n] for n in ("x", "y", "score", "area", "bx", "by", "bw", "bh", "snr")] == [
        10, 20, 0.7, 12, 8, 18, 4, 4, 6.5
    ]  # fmt: skip


def test_coasting_moves_the_box_and_keeps_the_looks_and_the_id():
    seen = [detections([[10 + 2 * t, 50]], score=0.8, snr=t) for t in range(20)]
    out = play([*seen, *[detections([])] * 8, *[detections([[10 + 2 * t, 50]]) for t in range(28, 32)]])
    for t in range(20, 28):
        row = out[t][0]
        assert (row["id"], row["state"], row["score"], row["snr"]) == (1, COASTING, 0.8, 19)
        assert row["x"] == pytest.approx(10 + 2 * t, abs=0.5)
        assert row["bx"] - (8 + 2 * 19) == pytest.approx(row["x"] - out[19][0]["x"], abs=1e-9)
    assert [(len(o), int(o["id"][0]), int(o["state"][0])) for o in out[28:]] == [(1, 1, CONFIRMED)] * 4


@pytest.mark.parametrize("fps", [10, 30, 120])
def test_coasting_ends_after_its_time_whatever_the_frame_rate(fps):
    config = msgspec.structs.replace(CONFIG, max_coast_s=0.5)
    frames = [detections([[50, 50]])] * 5 + [detections([])] * fps
    out = play(frames, config, dt=1 / fps)
    coasted = sum(len(t) for t in out[5:])
    assert coasted in (fps // 2 - 1, fps // 2)


def test_a_single_flash_is_forgotten_before_it_is_confirmed():
    out = play([detections([[50, 50]]), *[detections([])] * 5])
    assert [len(t) for t in out] == [1, 1, 1, 0, 0, 0]
    assert all((t["state"] == TENTATIVE).all() for t in out)


def test_low_scores_never_start_a_track():
    out = play([detections(points, score=CONFIG.high_score - 0.01) for points in wander(0)])
    assert sum(len(t) for t in out) == 0


def test_low_scores_keep_a_confirmed_track_but_lower_ones_do_not():
    start = [detections([[50, 50]])] * 4
    kept = play([*start, *[detections([[50, 50]], score=CONFIG.low_score)] * 30])
    assert (kept[-1]["id"].tolist(), kept[-1]["state"].tolist()) == ([1], [CONFIRMED])
    lost = play([*start, *[detections([[50, 50]], score=CONFIG.low_score - 0.01)] * 30])
    assert len(lost[-1]) == 0


def test_low_scores_neither_revive_a_coasting_track_nor_confirm_a_tentative_one():
    low, high, nothing = detections([[50, 50]], score=CONFIG.low_score), detections([[50, 50]]), detections([])
    coasting = play([high, high, high, nothing, low, high])
    assert [int(t["state"][0]) for t in coasting[2:]] == [CONFIRMED, COASTING, COASTING, CONFIRMED]
    assert [len(t) for t in play([high, low, low, low])] == [1, 1, 1, 0]


def test_a_high_score_goes_before_a_nearer_low_score():
    tracker = Tracker(CONFIG)
    for _ in range(10):
        tracker.step(detections([[50, 50]]), DT, STILL)
    out = tracker.step(detections([[50, 50], [52, 50]], score=[0.3, 0.9]), DT, STILL)
    assert len(out) == 1 and out["score"][0] == 0.9


def test_crossing_targets_keep_their_ids():
    out = play([detections([[10 + 3 * t, 100 + 2 * t], [10 + 3 * t, 220 - 2 * t]]) for t in range(60)])
    assert all(t["id"].tolist() == [1, 2] for t in out)
    assert out[-1]["y"] == pytest.approx([218, 102], abs=0.5)


def test_detections_a_long_way_apart_are_not_linked():
    out = play([detections([[50, 50]]), detections([[120, 50]])])
    assert out[1]["id"].tolist() == [1, 2]
    assert out[1]["x"].tolist() == [50, 120]


def test_no_gate_reaches_beyond_its_largest_distance_after_a_long_gap():
    config = msgspec.structs.replace(CONFIG, max_coast_s=5.0, max_gate_px=30.0)
    tracker = Tracker(config)
    for _ in range(10):
        tracker.step(detections([[50, 50]]), DT, STILL)
    out = tracker.step(detections([[85, 50]]), 4.0, STILL)
    assert out["id"].tolist() == [1, 2]


def test_a_gap_longer_than_coasting_ends_all_tracks():
    tracker = Tracker(CONFIG)
    for _ in range(10):
        tracker.step(detections([[50, 50]]), DT, STILL)
    assert tracker.step(detections([[50, 50]]), 10.0, STILL)["id"].tolist() == [2]


def test_dropped_frames_with_the_right_time_keep_the_track():
    times = np.delete(np.arange(40), [11, 12, 13, 17, 22, 23, 24, 25, 30])
    tracker, previous = Tracker(CONFIG), 0
    for t in times:
        out = tracker.step(detections([[10 + 3 * t, 50 + t]]), (t - previous) * DT, STILL)
        previous = t
    assert out["id"].tolist() == [1]
    assert (out["vx"][0], out["vy"][0]) == pytest.approx((90, 30), abs=2)


@pytest.mark.parametrize("dt", [0.0, -1.0])
def test_a_clock_that_stands_or_runs_back_leaves_sane_tracks(dt):
    tracker = Tracker(CONFIG)
    for t in range(10):
        tracker.step(detections([[10 + 2 * t, 50]]), DT, STILL)
    out = tracker.step(detections([[28.5, 50]]), dt, EgoMotion(matrix=(1, 0, 0.5, 0, 1, 0), ok=True))
    assert out["id"].tolist() == [1]
    assert abs(out["vx"][0] - 60) < 20


def camera(t):
    """Where the world lies in picture t: turned and shifted, (2, 3)."""
    angle = 0.05 * math.sin(0.3 * t)
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 25 * math.sin(0.7 * t)], [s, c, 15 * math.cos(1.1 * t)]])


def ego_between(before, after, ok=True):
    """Exact motion from one picture's coordinates to the next one's."""
    linear = after[:, :2] @ np.linalg.inv(before[:, :2])
    (a, b), (c, d) = linear.tolist()
    tx, ty = (after[:, 2] - linear @ before[:, 2]).tolist()
    return EgoMotion(matrix=(a, b, tx, c, d, ty), inliers=50, ok=ok, method="flow")


def test_a_shaking_camera_changes_nothing_but_coordinates():
    frames = wander(3)
    still, shaking = Tracker(CONFIG), Tracker(CONFIG)
    for t, points in enumerate(frames):
        pose = camera(t)
        ego = ego_between(camera(t - 1), pose)
        expected = still.step(detections(points, score=0.6 + points[:, 0] % 1 * 0.3), DT, STILL)
        seen = points @ pose[:, :2].T + pose[:, 2]
        got = shaking.step(detections(seen, score=0.6 + points[:, 0] % 1 * 0.3), DT, ego)
        # Births are numbered by place in the picture, so tracks are paired by where they are.
        xy = np.stack([expected["x"], expected["y"]], axis=1) @ pose[:, :2].T + pose[:, 2]
        assert len(got) == len(expected)
        gap = np.hypot(xy[:, None, 0] - got["x"], xy[:, None, 1] - got["y"])
        assert gap.min(axis=1, initial=0 if not len(got) else np.inf).max(initial=0) < 1e-8
        pairs = gap.argmin(axis=1) if len(got) else np.empty(0, int)
        assert (got["state"][pairs] == expected["state"]).all()


def test_image_velocity_is_the_rate_at_which_the_picture_position_changes():
    """A target at rest in the world under a steady pan moves in the picture with the pan."""
    tracker = Tracker(CONFIG)
    pan = EgoMotion(matrix=(1, 0, 5.0, 0, 1, -2.0), ok=True)
    for t in range(30):
        out = tracker.step(detections([[10 + 5 * t, 200 - 2 * t]]), DT, pan if t else STILL)
    assert (out["vx"][0], out["vy"][0]) == pytest.approx((150, -60), abs=0.5)


def test_a_matrix_that_is_not_trusted_is_not_used():
    frames = wander(4)
    wild = EgoMotion(matrix=(1.3, 0.4, 300.0, -0.4, 1.3, -200.0), ok=False)
    for a, b in zip(
        play([detections(p) for p in frames], ego=wild),
        play([detections(p) for p in frames], ego=EgoMotion()),
        strict=True,
    ):
        assert a.tobytes() == b.tobytes()


def test_without_an_estimate_the_gate_is_wide_enough_for_a_jolt():
    def jolt(ok):
        tracker = Tracker(CONFIG)
        for _ in range(30):
            tracker.step(detections([[100, 100]]), DT, STILL)
        return tracker.step(detections([[112, 109]]), DT, EgoMotion(ok=ok))["id"].tolist()

    assert jolt(ok=False) == [1]
    assert jolt(ok=True) == [1, 2]


def test_what_is_found_for_its_motion_is_confirmed_once_it_has_moved_in_the_scene():
    panning = EgoMotion(matrix=(1, 0, -2.0, 0, 1, 0), ok=True)
    stands = play([detections([[200 - 2 * t, 50]], motion=6) for t in range(40)], ego=panning)
    assert {int(t["state"][0]) for t in stands} == {TENTATIVE}
    flies = play([detections([[200 - 2 * t, 50 + 0.5 * t]], motion=6) for t in range(40)], ego=panning)
    confirmed = [int(t["state"][0]) for t in flies].index(CONFIRMED)
    assert 3.0 / 0.5 <= confirmed <= 10
    sure = play([detections([[200 - 2 * t, 50]], motion=6 if t % 2 else 0) for t in range(40)], ego=panning)
    assert [int(t["state"][0]) for t in sure].index(CONFIRMED) == 4  # the network's third hit


def test_chance_peaks_of_motion_are_never_confirmed_and_a_target_among_them_is():
    rng = np.random.default_rng(0)
    tracker, held = Tracker(CONFIG, shape=(256, 256)), []
    for t in range(600):
        chance, flies = rng.uniform(0, 256, (6, 2)).tolist(), t >= 300
        place = [20 + 0.7 * (t - 300), 128 + 20 * np.sin(t / 20)]
        if flies and rng.uniform() < 0.9:
            chance.append((rng.normal(0, 0.3, 2) + place).tolist())
        tracks = tracker.step(detections(chance, motion=6), DT, STILL)
        tracks = tracks[tracks["state"] != TENTATIVE]
        if flies:
            held.append((np.hypot(tracks["x"] - place[0], tracks["y"] - place[1]) < 3).any())
        else:
            assert not len(tracks)
    assert held.index(True) <= 12
    assert np.mean(held) > 0.85


def test_chance_peaks_of_motion_make_no_place_familiar():
    config = msgspec.structs.replace(CONFIG, clutter=ClutterConfig(recent_s=(0.2, 0.5), old_s=(0.6, 10.0)))
    rng = np.random.default_rng(0)
    for motion, confirmed in ((6, True), (0, False)):
        tracker = Tracker(config, shape=(100, 100))
        for _ in range(120):
            tracker.step(detections(rng.uniform(0, 100, (8, 2)), score=0.3, motion=motion), DT, STILL)
        out = [tracker.step(detections([[10 + 2 * t, 50]]), DT, STILL) for t in range(20)]
        assert bool((out[-1]["state"] == CONFIRMED).any()) is confirmed


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 50), data=st.data())
def test_the_order_of_detections_is_without_effect(seed, data):
    frames = [
        detections(p, score=np.random.default_rng(seed).uniform(0.1, 1, len(p)), snr=p[:, 0])
        for p in wander(seed, frames=20, clutter=4)
    ]
    shuffle = np.random.default_rng(data.draw(st.integers(0, 1000)))
    for a, b in zip(play(frames), play([shuffle.permutation(f) for f in frames]), strict=True):
        assert a.tobytes() == b.tobytes()


def test_the_same_input_gives_the_same_bytes():
    frames = [detections(p) for p in wander(9)]
    for a, b in zip(play(frames), play(frames), strict=True):
        assert a.tobytes() == b.tobytes()


def test_ids_start_at_one_and_are_never_reused_even_after_a_reset():
    tracker = Tracker(CONFIG)
    assert tracker.step(detections([[10, 10], [90, 90]]), DT, STILL)["id"].tolist() == [1, 2]
    tracker.reset((480, 640))
    assert tracker.step(detections([[10, 10]]), DT, STILL)["id"].tolist() == [3]


def test_beyond_the_largest_number_of_tracks_only_the_best_detections_start_one():
    config = msgspec.structs.replace(CONFIG, max_tracks=2)
    points = [[10, 10], [100, 10], [200, 10], [300, 10]]
    tracker = Tracker(config)
    out = tracker.step(detections(points, score=[0.6, 0.9, 0.7, 0.8]), DT, STILL)
    assert sorted(out["x"].tolist()) == [100, 300]
    assert len(tracker.step(detections(points), DT, STILL)) == 2


def test_two_hundred_targets_are_all_held():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(10)), axis=-1).reshape(-1, 2) * 40.0
    velocity = rng.uniform(-1, 1, grid.shape)
    out = play([detections(grid + velocity * t + rng.normal(0, 0.3, grid.shape)) for t in range(10)])
    assert all(sorted(t["id"].tolist()) == list(range(1, 201)) for t in out)


def test_returned_tracks_are_the_callers_own():
    tracker = Tracker(CONFIG)
    first = tracker.step(detections([[10, 10]]), DT, STILL)
    first["x"] = 999
    first["state"] = CONFIRMED
    second = tracker.step(detections([[10, 10]]), DT, STILL)
    assert second["x"][0] == pytest.approx(10) and second["state"][0] == TENTATIVE


def test_bad_input_is_refused():
    tracker = Tracker(CONFIG)
    with pytest.raises(ValueError, match="DETECTION_DTYPE"):
        tracker.step(np.zeros(3), DT, STILL)
    with pytest.raises(ValueError, match="dt: nan"):
        tracker.step(detections([]), math.nan, STILL)
    with pytest.raises(ValueError, match="centroid is not finite"):
        tracker.step(detections([[math.inf, 0]]), DT, STILL)


@pytest.mark.parametrize(("score", "born"), [(0.79, False), (0.8, True)])
def test_births_follow_the_detectors_threshold_unless_told_otherwise(score, born):
    frame = detections([[50, 50]], score=score)
    assert bool(len(Tracker(TrackConfig(), threshold=0.8).step(frame, DT, STILL))) is born
    assert len(Tracker(TrackConfig(high_score=0.3), threshold=0.8).step(frame, DT, STILL)) == 1


def test_tracks_start_at_the_rate_that_is_wanted_and_the_surest_still_do():
    rng, minutes = np.random.default_rng(5), 2
    config = msgspec.structs.replace(CONFIG, starts_per_min=60.0)
    trackers = Tracker(CONFIG), Tracker(config)
    for frame in range(round(minutes * 60 / DT)):
        glitter = detections(rng.uniform(0, 500, (4, 2)), score=rng.uniform(0.9, 0.999, 4))
        target = detections([[20 + frame / 10, 250]], score=0.99999)
        for tracker in trackers:
            out = tracker.step(np.concatenate([glitter, target]) if frame >= 1000 else glitter, DT, STILL)
            held = out[(out["state"] == CONFIRMED) & (np.hypot(out["x"] - 20 - frame / 10, out["y"] - 250) < 3)]
            assert len(held) == (frame >= 1002)
    free, wanted = (tracker.next_id - 1 for tracker in trackers)
    assert free > 10_000
    assert 0.8 * 60 * minutes < wanted < 60 * minutes + 40


@pytest.mark.parametrize(("snr", "confirmed_at"), [(20, 3), (10, 3), (5, 6), (2.5, 12)])
def test_what_hardly_stands_out_needs_more_hits(snr, confirmed_at):
    out = play([detections([[10, 50]], snr=snr) for t in range(20)])
    states = [int(t["state"][0]) for t in out]
    assert states.index(CONFIRMED) == confirmed_at - 1
