"""Helpers to run the tracker on frames of points with stationary clutter."""

from __future__ import annotations

import numpy as np

from pipeline.messages import CONFIRMED, DETECTION_DTYPE, EgoMotion
from pipeline.track.clutter import ClutterConfig
from pipeline.track.config import TrackConfig
from pipeline.track.tracker import Tracker

DT = 1 / 30


SHAPE = (256, 320)


CONFIG = TrackConfig(confirm_hits=3, clutter=ClutterConfig(few=2))


STILL = EgoMotion(ok=True)


STAY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


LOST = EgoMotion(ok=False)


POSTS = np.array([[40.0, 200.0], [160.0, 210.0], [300.0, 190.0]])


def rows(points):
    table = np.zeros(len(points), DETECTION_DTYPE)
    table["x"], table["y"] = np.asarray(points, float).reshape(-1, 2).T
    table["score"], table["snr"] = 0.9, 20
    return table


def watch(frames, egos=None, config=CONFIG):
    """Return the tracker's output for frames of points (n, 2)."""
    tracker = Tracker(config, 0.5, SHAPE)
    egos = egos or [STILL] * len(frames)
    return [tracker.step(rows(points), DT, ego) for points, ego in zip(frames, egos, strict=True)]


def first_confirmed(tables, at):
    """Return the index of the first frame with a confirmed track within 5 px of ``at(frame)``, or None."""
    for t, table in enumerate(tables):
        known = table[table["state"] == CONFIRMED]
        if (np.hypot(known["x"] - at(t)[0], known["y"] - at(t)[1]) < 5).any():
            return t
    return None


def jittered(points, t, sigma=0.7):
    return points + np.random.default_rng(t).normal(0, sigma, points.shape)


DEAD = np.array([[100.0, 60.0]])
