"""Stationary clutter is not confirmed, targets that move or appear are, also when the camera moves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.messages import COASTING, CONFIRMED, TENTATIVE, EgoMotion
from pipeline.track.clutter import MANY, ClutterConfig, ClutterMap
from pipeline.track.config import TrackConfig
from pipeline.track.tracker import Tracker
from tests.track.watching import (
    CONFIG,
    DEAD,
    DT,
    LOST,
    POSTS,
    SHAPE,
    STAY,
    STILL,
    first_confirmed,
    jittered,
    rows,
    watch,
)


def test_stationary_clutter_is_tracked_but_never_confirmed():
    tables = watch([jittered(POSTS, t) for t in range(300)])
    assert all((table["state"] == TENTATIVE).all() for table in tables)
    assert sorted(tables[-1]["id"].tolist()) == sorted(tables[10]["id"].tolist()) == [1, 2, 3]
    told = watch(
        [jittered(POSTS, t) for t in range(10)],
        config=TrackConfig(confirm_hits=3, clutter=ClutterConfig(enabled=False)),
    )
    assert (told[-1]["state"] == CONFIRMED).all()


@pytest.mark.parametrize(
    ("speed", "earliest", "latest"),
    [(60.0, 3, 8), (12.0, 10, 14), (4.0, 18, 50)],
    ids=["fast: by its evidence", "slower: when it has departed", "crawling: by the reference"],
)
def test_a_target_moving_from_the_first_frame_is_confirmed(speed, earliest, latest):
    def at(t):
        return 50 + speed * t * DT, 100.0

    tables = watch([np.concatenate([jittered(POSTS, t), [at(t)]]) for t in range(90)])
    seen = first_confirmed(tables, at)
    assert earliest <= seen <= latest
    assert all((table["state"] == CONFIRMED).sum() <= 1 for table in tables)


def test_a_target_that_appears_and_hovers_is_confirmed_at_its_third_hit():
    def points(t):
        return np.concatenate([jittered(POSTS, t), [[100.0, 50.0]] if t >= 60 else np.empty((0, 2))])

    tables = watch([points(t) for t in range(300)])
    assert first_confirmed(tables, lambda t: (100.0, 50.0)) == 62
    assert (tables[-1]["state"] == CONFIRMED).sum() == 1


def test_a_hovering_target_that_was_lost_is_found_again():
    def points(t):
        return np.concatenate([POSTS, [[100.0, 50.0]] if 60 <= t < 150 or t >= 180 else np.empty((0, 2))])

    tables = watch([points(t) for t in range(200)])
    assert (tables[178]["state"] == TENTATIVE).all()
    assert first_confirmed(tables[180:], lambda t: (100.0, 50.0)) == 2


@pytest.mark.parametrize("posts", [2, 3])
def test_low_scores_continue_confirmed_tracks_but_not_stationary_clutter(posts):
    tracker = Tracker(CONFIG, 0.5, SHAPE)
    for t in range(60):
        table = rows(POSTS[:posts])
        table["score"] = 0.9 if t < 5 else 0.3
        out = tracker.step(table, DT, STILL)
        assert (out["state"] == (CONFIRMED if posts == 2 else TENTATIVE)).all() or t < 2
    assert out["id"].tolist() == ([1, 2] if posts == 2 else [])


def test_low_scores_continue_tentative_tracks_in_random_clutter():
    tracker = Tracker(CONFIG, 0.5, SHAPE)
    for t in range(60):
        table = rows(POSTS)
        table["score"] = 0.9 if t < 5 else 0.3
        out = tracker.step(table, DT, STILL, noisy=0.6)
    assert (out["state"] == TENTATIVE).all()
    assert out["id"].tolist() == [1, 2, 3]


def pan(t):
    """Return the shift of the picture content up to frame t."""
    return np.array([-1.5 * t, 4 * math.sin(t / 9)])


def panned(t):
    (tx, ty) = pan(t) - pan(t - 1)
    return EgoMotion(matrix=(1, 0, tx, 0, 1, ty), inliers=50, ok=True, method="flow")


def test_clutter_that_a_pan_brings_into_view_is_not_confirmed_but_a_target_is():
    world = np.concatenate([POSTS + np.array([x, 0]) for x in (0, 150, 320, 480)])

    def target(t):
        return np.array([160.0 + 0.6 * t, 80.0])

    def points(t):
        seen = np.concatenate([jittered(world, t, 0.3) + pan(t), [target(t)]])
        return seen[((seen >= 0) & (seen < SHAPE[::-1])).all(axis=1)]

    tables = watch([points(t) for t in range(150)], [panned(t) for t in range(150)])
    assert first_confirmed(tables, target) <= 20
    assert max((table["state"] != TENTATIVE).sum() for table in tables) == 1


def test_without_trusted_ego_motion_only_m_of_n_decides():
    tables = watch([POSTS] * 20, [STILL] * 5 + [LOST] + [STILL] * 14)
    assert all((table["state"] == TENTATIVE).all() for table in tables[:5])
    assert (tables[-1]["state"] == CONFIRMED).all()
    always = watch([POSTS] * 20, [LOST] * 20)
    assert (always[-1]["state"] == CONFIRMED).all(), (
        "a sky without features has neither clutter nor an ego-motion estimate"
    )


@given(turn=st.floats(-0.02, 0.02), zoom=st.floats(0.99, 1.01), shift=st.tuples(st.floats(-2, 2), st.floats(-2, 2)))
def test_places_are_kept_in_scene_coordinates(turn, zoom, shift):
    """Under any constant camera motion the old places are familiar, and places 8 px away are new."""
    clutter = ClutterMap(ClutterConfig(), (10_000, 10_000))
    c, s = zoom * math.cos(turn), zoom * math.sin(turn)
    matrix = np.array([[c, -s, shift[0]], [s, c, shift[1]]])
    points = np.array([[5000.0, 5000.0], [5100.0, 5050.0]])
    for t in range(40):
        if t:
            points = points @ matrix[:, :2].T + matrix[:, 2]
        clutter.move(DT, tuple(matrix.ravel().tolist()), True)
        new, familiar = clutter.classify(np.concatenate([points, points + np.array([0, 8])]))
        clutter.add(points)
    assert new.tolist() == [False, False, True, True]
    assert familiar.tolist() == [True, True, False, False]


def test_new_and_familiar_places_follow_the_reference_periods():
    clutter = ClutterMap(ClutterConfig(recent_s=(0.5, 1.0), old_s=(1.5, 3.0), reach_px=4.0), (100, 100))
    spot, beside, near = [50.0, 50.0], [50.0, 54.5], [53.0, 52.0]

    def after(seconds):
        clutter.move(seconds, STAY, True)
        return [
            ["", "new", "familiar"][n + 2 * f]
            for n, f in zip(*clutter.classify(np.array([spot, beside, near])), strict=True)
        ]

    assert after(0.0) == ["", "", ""], "no reference"
    clutter.add(np.array([spot]))
    assert after(0.4) == ["", "", ""], "too recent"
    assert after(0.2) == ["familiar", "new", "familiar"]
    assert after(0.6) == ["", "", ""], "1.2 s old: between the reference periods"
    assert after(0.4) == ["familiar", "new", "familiar"], "1.6 s old"
    clutter.add(np.array([beside]))
    assert after(0.6) == ["familiar", "new", "familiar"], "the recent reference is not used where the older one exists"
    assert after(1.2) == ["new", "familiar", "familiar"], "the first has expired"
    clutter.forget(np.array([beside]))
    assert after(0.0) == ["new"] * 3


@given(
    seed=st.integers(0, 2**32 - 1),
    points=st.integers(1, 2 * MANY),
    spread=st.sampled_from([1.0, 300.0, 1e5]),
    decimals=st.integers(0, 3),
)
def test_forget_removes_places_within_reach_only(seed, points, spread, decimals):
    rng = np.random.default_rng(seed)
    clutter = ClutterMap(ClutterConfig(reach_px=4.0), SHAPE)
    places, held = (rng.uniform(-spread, spread, (n, 2)).round(decimals) for n in (points, 3 + points // 4))
    clutter.move(1 / 30, STAY, True)
    clutter.add(places)
    clutter.forget(held)
    distance = np.hypot(*(places[:, None] - held).transpose(2, 0, 1)).min(axis=1)
    for _ in range(60):
        clutter.move(1 / 30, STAY, True)
    _, familiar = clutter.classify(places)
    left = places[distance > 4.0]
    nearest = np.hypot(*(places[:, None] - left).transpose(2, 0, 1)).min(axis=1, initial=np.inf)
    assert (familiar == (nearest <= 4.0)).all()


def test_a_place_out_of_view_is_not_new():
    clutter = ClutterMap(ClutterConfig(), (100, 100))
    clutter.move(0.0, STAY, True)
    clutter.add(np.empty((0, 2)))
    clutter.move(0.6, (1, 0, -30, 0, 1, 0), True)
    new, familiar = clutter.classify(np.array([[80.0, 50.0], [60.0, 50.0]]))
    assert new.tolist() == [False, True]
    assert familiar.tolist() == [False, False]


def test_the_map_size_is_bounded_at_any_frame_rate_and_clutter_density():
    clutter = ClutterMap(ClutterConfig(), (100, 100))
    crowd = np.random.default_rng(0).uniform(0, 100, (200, 2))
    for _ in range(1000):
        clutter.move(0.005, STAY, True)
        clutter.add(crowd)
        clutter.add(np.array([[50.0, 50.0]]))
    assert len(clutter._pose_age) <= 51
    assert len(clutter._places) == len(clutter._age) <= 10_000
    for _ in range(400):
        clutter.move(0.1, STAY, True)
        clutter.add(crowd)
    assert len(clutter._pose_age) <= 301
    assert len(clutter._places) == 10_000
    assert clutter.classify(crowd)[1].all()


@pytest.mark.parametrize(("fps", "known"), [(50, True), (120, False)])
def test_a_truncated_memory_makes_no_place_new(fps, known):
    """A stationary point among glitter: 200 points per frame fill the memory within a second at 50 frames/s."""
    rng, clutter, said = np.random.default_rng(0), ClutterMap(ClutterConfig(), (512, 640)), []
    for _ in range(3 * fps):
        clutter.move(1 / fps, STAY, True)
        said.append([flag.item() for flag in clutter.classify(DEAD)])
        clutter.add(np.concatenate([rng.uniform(0, (640, 512), (200, 2)), DEAD]))
    assert said[-2 * fps :] == [[False, known]] * (2 * fps)


def test_flickering_stationary_clutter_is_confirmed_at_most_once():
    """Bursts of hits, five seconds apart: the first may be confirmed, the others are at a familiar place."""
    tables = watch([POSTS[:1] if t % 150 < 4 else np.empty((0, 2)) for t in range(900)])
    alarms = {int(row["id"]) for table in tables for row in table if row["state"] == CONFIRMED}
    assert len(alarms) == 1


def test_a_confirmed_track_never_becomes_tentative_again():
    tables = watch([[[100.0 + 2 * min(t, 40), 50.0]] if t not in (70, 71) else np.empty((0, 2)) for t in range(200)])
    states = [int(table["state"][0]) for table in tables if len(table)]
    begin = states.index(CONFIRMED)
    assert set(states[begin:]) == {CONFIRMED, COASTING}


@pytest.mark.parametrize("bad", [{"recent_s": (1.0, 0.5)}, {"old_s": (1.0, 1.1)}])
def test_invalid_reference_periods_are_rejected(bad):
    with pytest.raises(ValueError, match="too short"):
        ClutterConfig(**bad)


@pytest.mark.parametrize(("posts", "alarms"), [(1, 1), (2, 2), (3, 0)])
def test_only_few_stationary_points_are_confirmed_without_a_reference(posts, alarms):
    tables = watch([jittered(POSTS[:posts], t) for t in range(60)])
    assert (tables[2]["state"] == CONFIRMED).sum() == (tables[-1]["state"] == CONFIRMED).sum() == alarms


def test_many_moving_targets_are_confirmed_without_a_reference():
    flying = [[40.0 + 30 * i, 120.0] for i in range(8)]
    tables = watch([np.concatenate([jittered(POSTS, t), np.add(flying, [0.0, 1.5 * t])]) for t in range(12)])
    assert [(table["state"] == CONFIRMED).sum() for table in (tables[2], tables[8])] == [0, 8]
    assert (tables[-1]["y"][tables[-1]["state"] == CONFIRMED] < 150).all()
