"""The share of detected targets, as estimated and as the tracker uses it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.messages import TENTATIVE
from pipeline.track import detection_rate
from pipeline.track.detection_rate import LOWEST, PRIOR, DetectionRate
from pipeline.track.evidence import RECENT_S, USUAL_DETECTION
from pipeline.track.tracker import Tracker
from tests.track.scenes import CONFIG, DT, STILL, detections


def fed(gaps: list[float], frames: int, dt: float = 0.04) -> DetectionRate:
    rate = DetectionRate()
    for _ in range(frames):
        rate.update(np.array(gaps), dt)
    return rate


def test_estimate_is_the_mean_of_the_frames_and_the_prior() -> None:
    assert DetectionRate().probability == USUAL_DETECTION
    assert fed([0, 3, 1], 1).probability == pytest.approx((3 + USUAL_DETECTION * PRIOR) / (7 + PRIOR))
    twice = 1 + math.exp(-0.04 / RECENT_S)
    expected = (3 * twice + USUAL_DETECTION * PRIOR) / (7 * twice + PRIOR)
    assert fed([0, 3, 1], 2).probability == pytest.approx(expected)


def test_many_tracks_outweigh_the_prior_and_one_does_not() -> None:
    assert fed([1, 2] * 10, 100).probability == pytest.approx(0.4, abs=0.05)
    assert fed([1], 100).probability == pytest.approx((25 + USUAL_DETECTION * PRIOR) / (50 + PRIOR), abs=0.01)


def test_estimate_is_bounded_and_forgets() -> None:
    assert fed([0] * 50, 100).probability == USUAL_DETECTION
    rate = fed([9] * 50, 100)
    assert rate.probability == LOWEST
    for _ in range(300):
        rate.update(np.empty(0), 0.04)
    assert rate.probability == pytest.approx(USUAL_DETECTION, abs=1e-3)


@pytest.mark.parametrize("fps", [10, 30])
def test_only_gaps_that_have_closed_count(fps: int) -> None:
    tracker, places = Tracker(CONFIG), [[50 + 30 * i, 50] for i in range(20)]
    for t in range(60):
        tracker.step(detections(places if t < 59 else []), 1 / fps, STILL)
    assert tracker._detection_rate.probability == USUAL_DETECTION
    for _ in range(2):
        tracker.step(detections([]), 1 / fps, STILL)
    rate = tracker._detection_rate
    hits, frames = rate._hits, rate._frames
    tracker.step(detections(places[:5]), 1 / fps, STILL)
    kept = math.exp(-min(1 / fps, 0.1))
    assert rate._hits == pytest.approx(hits * kept + 5)
    assert rate._frames == pytest.approx(frames * kept + 5 + 3 * 5)


@pytest.mark.parametrize("noisy", [0.4, 0.6])
def test_dim_targets_are_held_where_clutter_is_random(noisy: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty targets of which a frame shows three in ten after a second, among ten false alarms a frame."""

    def held() -> float:
        rng = np.random.default_rng(0)
        tracker, shown = Tracker(CONFIG, shape=(512, 640)), 0
        start, velocity = rng.uniform(100, 400, (20, 2)), rng.uniform(-1, 1, (20, 2))
        for t in range(200):
            targets = start + velocity * t
            seen = targets[rng.random(20) < (0.95 if t < 30 else 0.3)]
            found = [*(seen + rng.normal(0, 0.5, seen.shape)), *rng.uniform(0, 512, (10, 2))]
            tracks = tracker.step(detections(found, motion=6), DT, STILL, noisy)
            tracks = tracks[tracks["state"] != TENTATIVE]
            if t >= 100:
                near = np.hypot(tracks["x"] - targets[:, :1], tracks["y"] - targets[:, 1:]) < 5
                shown += int(near.any(axis=1).sum())
        return shown / 2000

    with_estimate = held()
    monkeypatch.setattr(detection_rate, "PRIOR", 1e9)
    without = held()
    if noisy < 0.5:
        assert with_estimate == without
    else:
        assert with_estimate > without + 0.3
