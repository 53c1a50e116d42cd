"""Detections at a fixed pixel under camera motion: dead pixels, and targets that the camera follows."""

from __future__ import annotations

import numpy as np

from pipeline.messages import CONFIRMED, EgoMotion
from pipeline.track.clutter import ClutterConfig, ClutterMap
from tests.track.watching import (
    DEAD,
    POSTS,
    SHAPE,
    first_confirmed,
    jittered,
    watch,
)

PAN = EgoMotion(matrix=(1.0, 0.0, -2.0, 0.0, 1.0, 0.0), ok=True)


"""The scene moves 2 px to the left per frame."""


PAN_FAR = (1.0, 0.0, -10.0, 0.0, 1.0, 0.0)


def test_a_dead_pixel_is_not_confirmed_repeatedly_during_a_pan():
    # It flickers, seven frames on and fourteen off, so that a new track is needed each time.
    points = [DEAD if t % 21 < 7 else np.empty((0, 2)) for t in range(420)]
    tables = watch(points, [PAN] * 420)
    late = {int(i) for table in tables[60:] for i in table["id"][table["state"] == CONFIRMED]}
    early = {int(i) for table in tables[:60] for i in table["id"][table["state"] == CONFIRMED]}
    assert len(early) >= 1
    assert not late - early


def test_a_target_passing_a_dead_pixel_is_confirmed():
    def at(t):
        return 20 + 1.5 * t, 60.0

    points = [np.concatenate([jittered(DEAD, t, 0.1) if t % 21 < 7 else np.empty((0, 2)), [at(t)]]) for t in range(120)]
    tables = watch(points, [PAN] * 120)
    assert first_confirmed(tables, at) <= 20
    held = [(np.hypot(table["x"] - at(t)[0], table["y"] - at(t)[1]) < 3).any() for t, table in enumerate(tables)]
    assert all(held[30:])


def test_a_target_followed_by_the_camera_is_confirmed_and_held():
    points = [jittered(np.array([[160.0, 128.0]]), t) for t in range(300)]
    tables = watch(points, [PAN] * 300)
    known = [table["id"][table["state"] == CONFIRMED].tolist() for table in tables]
    assert all(ids == known[25] for ids in known[25:])
    assert len(known[25]) == 1


def test_known_places_are_counted_while_in_the_picture():
    """Posts leave to the left at 20 px/s, a dead pixel stays; places are counted once they are old enough."""
    clutter, counts = ClutterMap(ClutterConfig(), SHAPE), []
    for t in range(100):
        moved = np.array([-2.0 * t, 0.0])
        clutter.move(0.1, PAN.matrix, True)
        clutter.add(np.concatenate([jittered(POSTS + moved, t, 0.3), jittered(DEAD, t, 0.1)]))
        counts.append(clutter.known())
    assert counts[4] == (0, 0)
    assert counts[15] == (3, 1)
    assert counts[60] == (2, 1), "the post at 40 px has left"
    assert counts[99] == (1, 1)


def test_a_followed_target_is_found_again_at_the_same_sensor_pixel():
    held, nothing = np.array([[160.0, 128.0]]), np.empty((0, 2))
    points = [nothing if 60 <= t < 120 else jittered(held, t, 0.2) for t in range(150)]
    tables = watch(points, [PAN] * 150)
    assert not any(len(table) for table in tables[90:120])
    assert first_confirmed(tables[120:], lambda t: (160.0, 128.0)) == 2


def test_forget_clears_the_sensor_pixel_of_a_target_but_not_its_neighbours():
    clutter = ClutterMap(ClutterConfig(reach_px=4.0), SHAPE)
    beside = DEAD + np.array([[0.0, 0.7], [0.0, 1.6], [20.0, 0.0]])
    for _ in range(10):
        clutter.move(0.1, PAN_FAR, True)
        clutter.add(beside)
    clutter.move(0.1, PAN_FAR, True)
    assert clutter.classify(beside)[1].all()
    clutter.forget(DEAD)
    assert clutter.classify(beside)[1].tolist() == [False, True, True]


def test_sensor_artefacts_need_hits_at_different_scene_positions():
    clutter = ClutterMap(ClutterConfig(reach_px=4.0), SHAPE)
    left = (1.0, 0.0, -3.0, 0.0, 1.0, 0.0)
    for hits in range(1, 6):
        clutter.move(0.1, left, True)
        new, familiar = clutter.classify(DEAD)
        # Seen at that pixel in hits - 1 frames, in three of them with the scene more than 8 px (3 frames) away.
        assert familiar.tolist() == [hits - 1 >= 3 + 2]
        assert new.tolist() == [False]  # no reference is old enough yet
        clutter.add(DEAD)
    clutter.move(0.1, left, True)
    assert [flags.tolist() for flags in clutter.classify(DEAD + np.array([[0.0, 0.0], [0.7, 0.0], [0.8, 0.0]]))] == [
        [False, False, True],
        [True, True, False],
    ]
