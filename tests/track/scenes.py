"""Synthetic detections, and helpers to run the tracker on them."""

from __future__ import annotations

import numpy as np

from pipeline.messages import DETECTION_DTYPE, EgoMotion
from pipeline.track.clutter import ClutterConfig
from pipeline.track.config import TrackConfig
from pipeline.track.tracker import Tracker

DT = 1 / 30
STILL = EgoMotion(ok=True)
CONFIG = TrackConfig(high_score=0.5, low_score=0.2, confirm_hits=3, clutter=ClutterConfig(enabled=False))


def detections(points, score=0.9, **columns):
    """Return rows of ``DETECTION_DTYPE`` at the points (n, 2), with a box of 4 x 4 px around each."""
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
    """Return detected points (n, 2) per frame of targets that fly straight, with misses, noise and clutter."""
    rng = np.random.default_rng(seed)
    start, velocity = rng.uniform(100, 400, (targets, 2)), rng.uniform(-2, 2, (targets, 2))
    scene = []
    for t in range(frames):
        seen = rng.random(targets) >= missed
        points = (start + velocity * t)[seen] + rng.normal(0, 0.4, (seen.sum(), 2))
        scene.append(np.concatenate([points, rng.uniform(0, 500, (rng.poisson(clutter), 2))]))
    return scene
