"""Re-identification of targets that were hidden for a while."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.messages import CONFIRMED, TENTATIVE, EgoMotion
from pipeline.track.lost_targets import LostTargets
from pipeline.track.tracker import Tracker
from tests.track.scenes import CONFIG, DT, STILL, detections


def shown(frames, ego=STILL):
    """Return the ids of confirmed and coasting tracks per frame."""
    tracker = Tracker(CONFIG)
    out = [tracker.step(detections(points), DT, ego) for points in frames]
    assert all((np.diff(tracks["id"]) > 0).all() for tracks in out)
    return [tracks["id"][tracks["state"] != TENTATIVE].tolist() for tracks in out]


def hidden(paths, t, start=40, frames=25):
    return [path(t) for path in paths if not start <= t < start + frames]


def test_a_target_hidden_for_about_a_second_gets_its_id_back():
    rng = np.random.default_rng(0)
    ids = shown([hidden([lambda t: rng.normal((50 + 1.5 * t, 80 + 0.5 * t), 0.4)], t) for t in range(100)])
    assert ids[39] == [1]
    assert ids[60] == []  # no track while it is hidden
    assert ids[-1] == [1]


def test_a_lost_target_is_transformed_with_the_ego_motion():
    panning = EgoMotion(matrix=(1, 0, -9.0, 0, 1, 0), ok=True)
    ids = shown([hidden([lambda t: (1000 - 9 * t, 80 + 0.5 * t)], t) for t in range(100)], panning)
    assert ids[39] == ids[-1] == [1]


def test_a_target_that_left_the_picture_gets_its_id_back():
    path = [(60 - 3 * t if t < 30 else -30 + 3 * (t - 30), 80) for t in range(60)]
    swung = [EgoMotion(matrix=(1, 0, -3.0 if t < 30 else 3.0, 0, 1, 0), ok=True) for t in range(60)]
    tracker = Tracker(CONFIG, shape=(200, 200))
    ids = []
    for (x, y), ego in zip(path, swung, strict=True):
        tracks = tracker.step(detections([(x, y)] if x >= 0 else []), DT, ego)
        ids.append(tracks["id"][tracks["state"] != TENTATIVE].tolist())
    assert ids[19] == [1] and ids[25] == [] and ids[-1] == [1]


def test_two_targets_hidden_together_are_not_confused():
    paths = [lambda t: (50 + 1.5 * t, 80 + 0.3 * t), lambda t: (50 + 1.5 * t, 110 - 0.3 * t)]
    tracker = Tracker(CONFIG)
    for t in range(100):
        tracks = tracker.step(detections(hidden(paths, t)), DT, STILL)
    assert tracks["state"].tolist() == [CONFIRMED, CONFIRMED]
    assert tracks["y"] == pytest.approx([80 + 0.3 * 99, 110 - 0.3 * 99], abs=1)


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (lambda t: (50 + 1.5 * t, 200), "elsewhere"),
        (lambda t: (50 + 1.5 * 65 - 9 * (t - 65), 80), "flies another way"),
    ],
)
def test_a_different_target_gets_a_new_id(after, why):
    frames = [[(50 + 1.5 * t, 80)] if t < 40 else [after(t)] if t >= 65 else [] for t in range(90)]
    ids = shown(frames)
    assert ids[39] == [1]
    assert ids[-1] == [2], why


@pytest.mark.parametrize(("lived_s", "number"), [(0.5, 1), (0.7, 2)])
def test_a_track_that_began_before_the_loss_is_another_target(lived_s, number):
    mean, cov = np.array([[100.0, 80, 10, 0]]), np.eye(4)[None]
    lost = LostTargets(remember_s=1.5)
    lost.add(np.array([1]), np.array([0.6]), mean, cov)
    assert lost.reidentify(np.array([2]), np.array([lived_s]), mean, cov).tolist() == [number]


def test_a_lost_target_expires():
    frames = [[(50 + 0.2 * t, 80)] if t < 40 or t >= 40 + 1.6 / DT else [] for t in range(120)]
    assert shown(frames)[-1] == [2]


def known(states, number=9):
    """Return lost targets numbered from 1 with (x, variance), and a function that asks for a track at x."""
    lost = LostTargets(remember_s=1.5)
    mean = np.array([[x, 80.0, 0, 0] for x, _ in states])
    lost.add(
        np.arange(1, len(states) + 1), np.full(len(states), 0.1), mean, np.stack([v * np.eye(4) for _, v in states])
    )

    def ask(x, variance):
        asked = np.array([[x, 80.0, 0, 0]]), variance * np.eye(4)[None]
        return int(lost.reidentify(np.array([number]), np.array([0.05]), *asked)[0])

    return lost, ask


@pytest.mark.parametrize(("ego_sigma", "number"), [(0.0, 9), (4.0, 1)])
def test_uncertain_ego_motion_widens_where_a_lost_target_may_be(ego_sigma, number):
    lost, ask = known([(100, 1.0)])
    for _ in range(3):
        lost.move(1e-3, STILL.matrix, ego_sigma)
    assert ask(110, 1.0) == number


@pytest.mark.parametrize(("variance", "number"), [(1e-6, 9), (1.0, 1)])
def test_the_uncertainty_of_the_new_track_counts(variance, number):
    """Four px are d^2 = 16 or 8 with the gate at 13.3."""
    assert known([(100, 1.0)])[1](104, variance) == number


def test_the_better_known_of_two_lost_targets_is_preferred():
    assert known([(100, 1.0), (97, 100.0)])[1](102, 1e-6) == 1
