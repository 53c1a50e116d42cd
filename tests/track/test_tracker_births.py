"""Conditions for starting and for confirming tracks."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pipeline.messages import CONFIRMED, TENTATIVE, EgoMotion
from pipeline.track.clutter import ClutterConfig
from pipeline.track.config import TrackConfig
from pipeline.track.tracker import Tracker
from tests.track.scenes import CONFIG, DT, STILL, detections, play


def test_a_motion_track_is_confirmed_once_it_has_moved_in_the_scene():
    panning = EgoMotion(matrix=(1, 0, -2.0, 0, 1, 0), ok=True)
    stands = play([detections([[200 - 2 * t, 50]], motion=6) for t in range(40)], ego=panning)
    assert {int(t["state"][0]) for t in stands} == {TENTATIVE}
    flies = play([detections([[200 - 2 * t, 50 + 0.5 * t]], motion=6) for t in range(40)], ego=panning)
    confirmed = [int(t["state"][0]) for t in flies].index(CONFIRMED)
    assert 3.0 / 0.5 <= confirmed <= 10
    sure = play([detections([[200 - 2 * t, 50]], motion=6 if t % 2 else 0) for t in range(40)], ego=panning)
    assert [int(t["state"][0]) for t in sure].index(CONFIRMED) == 4  # the network's third hit


def test_random_motion_peaks_are_not_confirmed_but_a_target_among_them_is():
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


def test_a_target_with_gaps_is_confirmed_more_often_in_random_clutter():
    """Evidence keeps tentative tracks alive there; false alarms alone do not gain any."""

    def held(noisy, seed, seen=0.55):
        """Return the fraction of frames with a track on the target, and the number of tracks elsewhere."""
        rng = np.random.default_rng(seed)
        tracker, on_it, elsewhere = Tracker(CONFIG, shape=(256, 256)), 0, set()
        for t in range(200):
            found, place = rng.uniform(0, 256, (5, 2)).tolist(), np.array([20 + 0.9 * t, 128 + 0.3 * t])
            if rng.uniform() < seen:
                found.append((place + rng.normal(0, 0.5, 2)).tolist())
            tracks = tracker.step(detections(found, motion=6), DT, STILL, noisy)
            tracks = tracks[tracks["state"] != TENTATIVE]
            near = np.hypot(tracks["x"] - place[0], tracks["y"] - place[1]) < 5
            on_it += bool(near.any())
            elsewhere |= set(tracks["id"][~near].tolist())
        return on_it / 200, len(elsewhere)

    clutter, noise = (np.mean([held(noisy, seed) for seed in range(4)], axis=0) for noisy in (0.4, 0.6))
    assert noise[0] > clutter[0] + 0.1
    assert not any(held(1.0, seed, seen=0.0)[1] for seed in range(4))


def test_confirmation_takes_longer_only_inside_dense_false_alarms():
    def confirmed(seed, x, glitters=8):
        """Return the number of frames until the target is confirmed."""
        rng = np.random.default_rng(seed)
        tracker = Tracker(CONFIG, shape=(256, 256))
        for t in range(100):
            found = rng.uniform([40, 40], [80, 120], (glitters, 2)).tolist()
            place = np.array([x, 45 + 0.8 * (t - 40)])
            tracks = tracker.step(detections(found + [place.tolist()] * (t >= 40), motion=6), DT, STILL)
            tracks = tracks[tracks["state"] != TENTATIVE]
            if (np.hypot(tracks["x"] - x, tracks["y"] - place[1]) < 2).any():
                return t - 40
        return 60

    among, beside, alone = (np.array([confirmed(seed, *at) for seed in range(12)]) for at in ((60,), (150,), (60, 0)))
    assert beside.mean() < alone.mean() + 3
    assert among.mean() > 3 * beside.mean()


def test_sharper_targets_are_confirmed_sooner():
    confirmed = []
    for appearance in (2.5, 0.0, -2.5, -9.0):
        tracker = Tracker(CONFIG, shape=(256, 256))
        frames = [detections([[20 + 2 * t, 50]], motion=6, appearance=appearance) for t in range(40)]
        states = [int(tracker.step(frame, DT, STILL)["state"].max(initial=TENTATIVE)) for frame in frames]
        confirmed.append(states.index(CONFIRMED) if CONFIRMED in states else len(states))
    assert confirmed == sorted(set(confirmed))
    assert confirmed[-1] == 40


def test_random_motion_peaks_make_no_place_familiar():
    config = msgspec.structs.replace(CONFIG, clutter=ClutterConfig(recent_s=(0.2, 0.5), old_s=(0.6, 10.0)))
    rng = np.random.default_rng(0)
    for motion, confirmed in ((6, True), (0, False)):
        tracker = Tracker(config, shape=(100, 100))
        for _ in range(120):
            tracker.step(detections(rng.uniform(0, 100, (8, 2)), score=0.3, motion=motion), DT, STILL)
        out = [tracker.step(detections([[10 + 2 * t, 50]]), DT, STILL) for t in range(20)]
        assert bool((out[-1]["state"] == CONFIRMED).any()) is confirmed


def test_at_max_tracks_only_the_best_detections_start_tracks():
    config = msgspec.structs.replace(CONFIG, max_tracks=2)
    points = [[10, 10], [100, 10], [200, 10], [300, 10]]
    tracker = Tracker(config)
    out = tracker.step(detections(points, score=[0.6, 0.9, 0.7, 0.8]), DT, STILL)
    assert sorted(out["x"].tolist()) == [100, 300]
    assert len(tracker.step(detections(points), DT, STILL)) == 2


@pytest.mark.parametrize(("score", "born"), [(0.79, False), (0.8, True)])
def test_high_score_overrides_the_detector_threshold(score, born):
    frame = detections([[50, 50]], score=score)
    assert bool(len(Tracker(TrackConfig(), threshold=0.8).step(frame, DT, STILL))) is born
    assert len(Tracker(TrackConfig(high_score=0.3), threshold=0.8).step(frame, DT, STILL)) == 1


def test_starts_are_limited_to_the_rate_except_for_the_best_scores():
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
def test_low_contrast_needs_more_hits(snr, confirmed_at):
    out = play([detections([[10, 50]], snr=snr) for t in range(20)])
    states = [int(t["state"][0]) for t in out]
    assert states.index(CONFIRMED) == confirmed_at - 1
