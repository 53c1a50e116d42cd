"""A target that two tracks have followed keeps the id of the older one."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.messages import COASTING, CONFIRMED, DETECTION_DTYPE, TENTATIVE, TRACK_DTYPE, EgoMotion
from pipeline.track.config import TrackConfig
from pipeline.track.duplicates import find_successors
from pipeline.track.tracker import Tracker


def pairs(*tracks, ending=(0,)):
    """Return the pairs of tracks given as (id, state, unseen_s, x, y, vx, vy), of which some end."""
    table, over = np.zeros(len(tracks), TRACK_DTYPE), np.zeros(len(tracks), bool)
    table["id"], table["state"] = ([track[k] for track in tracks] for k in range(2))
    over[list(ending)] = True
    unseen_s, mean = np.array([track[2] for track in tracks]), np.array([track[3:] for track in tracks], float)
    old, new = find_successors(table, unseen_s, mean, over)
    return list(zip(old.tolist(), new.tolist(), strict=True))


OLD, NEW = (3, COASTING, 0.5, 100, 80, -50, 0), (7, CONFIRMED, 0.0, 103, 81, -45, 2)


def changed(track, **changes):
    names = ("id", "state", "unseen_s", "x", "y", "vx", "vy")
    return tuple(changes.get(name, value) for name, value in zip(names, track, strict=True))


def test_an_ending_track_is_continued_by_a_younger_one_at_its_side():
    assert pairs(OLD, NEW) == [(0, 1)]
    assert pairs(NEW, OLD, ending=(1,)) == [(1, 0)]


@pytest.mark.parametrize(
    "other",
    [
        changed(NEW, id=2),
        changed(NEW, state=TENTATIVE),
        changed(NEW, unseen_s=0.6),
        changed(NEW, x=106),
        changed(NEW, vy=12),
    ],
)
def test_no_track_is_continued_by_one_that_may_be_another_target(other):
    assert pairs(OLD, other) == []


def test_no_track_is_continued_where_there_is_a_choice():
    assert pairs(OLD, NEW, changed(NEW, id=8)) == []
    assert pairs(OLD, changed(OLD, id=4), NEW, ending=(0, 1)) == []


def test_nothing_ends_and_nothing_is_continued():
    assert pairs(OLD, NEW, ending=()) == []
    assert find_successors(np.zeros(0, TRACK_DTYPE), np.zeros(0), np.zeros((0, 4)), np.zeros(0, bool))[0].size == 0


def found(*places):
    table = np.zeros(len(places), DETECTION_DTYPE)
    for k, (x, y, area) in enumerate(places):
        side = np.sqrt(area)
        table[k]["x"], table[k]["y"], table[k]["area"] = x, y, area
        table[k]["bx"], table[k]["by"], table[k]["bw"], table[k]["bh"] = x - side / 2, y - side / 2, side, side
    table["score"], table["snr"] = 0.99, 20
    return table


def test_a_large_target_that_was_seen_in_two_parts_keeps_its_id():
    tracker, seen = Tracker(TrackConfig(), 0.9, (256, 320)), []
    for k in range(80):
        x = 60 + 1.5 * k
        parts = [(x, 100, 25)] if not 30 <= k < 45 else [(x - 2.2, 100, 4), (x + 2.2, 100, 20)]
        table = tracker.step(found(*parts), 1 / 25, EgoMotion(ok=True))
        shown = table[table["state"] == CONFIRMED]
        seen.append(set(shown["id"].tolist()))
    first = seen[20]
    assert len(first) == 1
    assert any(len(ids) == 2 for ids in seen[30:50])
    assert seen[-1] == first
