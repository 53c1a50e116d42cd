"""False-alarm density against hand-computed values, and over long runs."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.messages import IDENTITY
from pipeline.track.false_alarms import FRAMES, MEAN_FRAMES, MIN_PER_FRAME, NO_TRACK, RADIUS, FalseAlarmDensity

SHAPE = (160, 320)
AREA = 160 * 320
AROUND = np.pi * RADIUS**2


def frame(density, places, owners=None):
    places = np.reshape(np.array(places, float), (-1, 2))
    owners = np.full(len(places), NO_TRACK) if owners is None else np.array(owners)
    density.update(places, np.ones(len(places), bool), owners)


def at(density, *places, ids=None):
    ids = np.arange(1000, 1000 + len(places)) if ids is None else np.array(ids)
    return density.at(np.array(places, float), ids)


def test_density_after_one_frame_matches_hand_computed_values():
    density = FalseAlarmDensity(SHAPE)
    frame(density, [[100, 100], [101, 100], [105, 108], [200, 40]])
    overall = 4 / AREA
    told = at(density, [104, 104], [200, 40], [260, 100])
    assert told == pytest.approx([(n + 1) / (AROUND + 1 / overall) for n in (3, 1, 0)])


def test_own_detections_of_a_track_do_not_count():
    density = FalseAlarmDensity(SHAPE)
    for k in range(4):
        frame(density, [[100 + k, 100], [104, 100]], owners=[7, NO_TRACK])
    frame(density, [[103, 104], [40, 40]])
    density.assign_owners(np.array([1, 0]), np.array([9, 7]))
    overall = 2 / AREA
    told = at(density, [104, 100], [104, 101], [40, 40], [40, 40], ids=[7, 8, 9, 10])
    assert told == pytest.approx([(n + 1) / (5 * AROUND + 1 / overall) for n in (4, 9, 0, 1)])


def test_a_renamed_track_keeps_its_own_detections():
    density, fresh = FalseAlarmDensity(SHAPE), FalseAlarmDensity(SHAPE)
    for told, owner in ((density, 9), (fresh, 2)):
        for k in range(4):
            frame(told, [[100 + k, 100], [104, 100], [30, 30]], owners=[owner, NO_TRACK, 5])
    density.rename(np.array([9, 5]), np.array([2, 5]))
    place = [103, 100]
    assert at(density, place, ids=[2]) == at(fresh, place, ids=[2]) < at(density, place, ids=[9])


def test_density_follows_the_ego_motion_and_expires():
    density = FalseAlarmDensity(SHAPE)
    frame(density, [[100, 100]] * 20)
    density.move((1, 0, 64, 0, 1, 0))
    frame(density, [])
    there, here = at(density, [164, 100], [100, 100])
    assert there == pytest.approx(21 * here)
    for _ in range(FRAMES):
        density.move(IDENTITY)
        frame(density, [])
    there, here = at(density, [164, 100], [100, 100])
    assert there == here == pytest.approx(1 / (FRAMES * AROUND + AREA / MIN_PER_FRAME))


def test_the_neighbourhood_is_clipped_at_the_picture_edges():
    density = FalseAlarmDensity(SHAPE)
    frame(density, [[2, 2]])
    told = at(density, [0, 0], [0, 30])
    assert told == pytest.approx([2 / (AROUND / 4 + AREA), 1 / (AROUND / 2 + AREA)])


@pytest.mark.parametrize("rate", [0.5, 4.0, 40.0])
def test_uniform_false_alarms_give_the_density_of_the_whole_picture(rate):
    rng = np.random.default_rng(0)
    density = FalseAlarmDensity(SHAPE)
    told = []
    for _ in range(200):
        frame(density, rng.uniform([0, 0], [320, 160], (rng.poisson(rate), 2)))
        told.append(np.log(at(density, *rng.uniform([0, 0], [320, 160], (20, 2)))).mean())
    assert np.mean(told[FRAMES:]) == pytest.approx(np.log(rate / AREA), abs=0.4)


def test_no_positions_give_no_densities():
    density = FalseAlarmDensity(SHAPE)
    frame(density, [])
    assert density.at(np.empty((0, 2)), np.empty(0, np.int64)).shape == (0,)
    assert at(density, [5, 5]) > 0


def test_the_mean_of_the_whole_picture_follows_within_a_few_frames():
    density = FalseAlarmDensity(SHAPE)
    frame(density, [[40 + 3 * k, 60] for k in range(10)])
    frame(density, [])
    mean = 10 - 10 / MEAN_FRAMES
    assert at(density, [260, 100]) == pytest.approx([1 / (2 * AROUND + AREA / mean)])
