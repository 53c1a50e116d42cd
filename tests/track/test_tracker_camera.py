"""The tracker with a moving camera."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.messages import EgoMotion
from pipeline.track.tracker import Tracker
from tests.track.scenes import CONFIG, DT, STILL, detections, play, wander


def camera(t):
    """Return the rotation and shift (2, 3) of the scene in picture t."""
    angle = 0.05 * math.sin(0.3 * t)
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 25 * math.sin(0.7 * t)], [s, c, 15 * math.cos(1.1 * t)]])


def ego_between(before, after, ok=True):
    """Return the exact ego-motion between two camera poses."""
    linear = after[:, :2] @ np.linalg.inv(before[:, :2])
    (a, b), (c, d) = linear.tolist()
    tx, ty = (after[:, 2] - linear @ before[:, 2]).tolist()
    return EgoMotion(matrix=(a, b, tx, c, d, ty), inliers=50, ok=ok, method="flow")


def test_a_shaking_camera_changes_only_the_coordinates():
    frames = [points + 200 for points in wander(3)]  # far from the picture edge, where tracks end
    still, shaking = Tracker(CONFIG), Tracker(CONFIG)
    for t, points in enumerate(frames):
        pose = camera(t)
        ego = ego_between(camera(t - 1), pose)
        expected = still.step(detections(points, score=0.6 + points[:, 0] % 1 * 0.3), DT, STILL)
        seen = points @ pose[:, :2].T + pose[:, 2]
        got = shaking.step(detections(seen, score=0.6 + points[:, 0] % 1 * 0.3), DT, ego)
        # Ids depend on the position in the picture, so tracks are paired by position.
        xy = np.stack([expected["x"], expected["y"]], axis=1) @ pose[:, :2].T + pose[:, 2]
        assert len(got) == len(expected)
        gap = np.hypot(xy[:, None, 0] - got["x"], xy[:, None, 1] - got["y"])
        assert gap.min(axis=1, initial=0 if not len(got) else np.inf).max(initial=0) < 1e-8
        pairs = gap.argmin(axis=1) if len(got) else np.empty(0, int)
        assert (got["state"][pairs] == expected["state"]).all()


def test_image_velocity_is_the_rate_at_which_the_picture_position_changes():
    """A target at rest in the scene moves in the picture with a steady pan."""
    tracker = Tracker(CONFIG)
    pan = EgoMotion(matrix=(1, 0, 5.0, 0, 1, -2.0), ok=True)
    for t in range(30):
        out = tracker.step(detections([[10 + 5 * t, 200 - 2 * t]]), DT, pan if t else STILL)
    assert (out["vx"][0], out["vy"][0]) == pytest.approx((150, -60), abs=0.5)


@pytest.mark.parametrize("fps", [500, 2000, 10_000])
def test_image_velocity_includes_the_camera_motion_at_any_frame_rate(fps):
    tracker = Tracker(CONFIG)
    pan = EgoMotion(matrix=(1, 0, 1.0, 0, 1, 0.0), ok=True)
    for t in range(50):
        out = tracker.step(detections([[100 + t, 200]]), 1 / fps, pan if t else STILL)
    assert (out["vx"][0], out["vy"][0]) == pytest.approx((fps, 0), abs=0.5)


def test_an_untrusted_matrix_is_ignored():
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


def test_the_density_of_false_alarms_moves_with_the_scene():
    tracker, panning = Tracker(CONFIG), EgoMotion(matrix=(1, 0, -5.0, 0, 1, 0), ok=True)
    rng = np.random.default_rng(0)
    for t in range(20):
        tracker.step(detections(rng.uniform([200 - 5 * t, 80], [240 - 5 * t, 120], (6, 2))), DT, panning)
    glitter, behind_it = (tracker._false_alarms.at(np.array([[x, 100.0]]), np.array([10**6])) for x in (125, 205))
    assert glitter > 20 * behind_it
