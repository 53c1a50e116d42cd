"""Stored frames follow the camera and the brightness, and their number is limited."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.messages import EgoMotion
from pipeline.moving.frame_history import FrameHistory, _Snapshot
from pipeline.moving.residual import PAST
from pipeline.preprocess.ego_motion import STILL

RNG = np.random.default_rng(0)
FRAME = RNG.normal(100, 5, (40, 50)).astype(np.float32)


def test_motions_are_applied_in_the_order_in_which_they_happened():
    shot = _Snapshot(FRAME, FRAME, 0.0)
    shot.follow(EgoMotion(matrix=(1.0, 0.0, 3.0, 0.0, 1.0, 0.0), ok=True))
    shot.follow(EgoMotion(matrix=(0.0, -1.0, 0.0, 1.0, 0.0, 0.0), ok=True))  # a quarter turn about (0, 0)
    assert shot.to_now @ (0, 0, 1) == pytest.approx((0, 3, 1))
    assert shot.to_now @ (10, 5, 1) == pytest.approx((-5, 13, 1))


def test_a_stored_frame_takes_on_the_brightness_of_the_current_one():
    shot = _Snapshot(FRAME, FRAME, 0.0)
    shot.gain, shot.offset = 1.5, -20.0
    assert shot.warped() == pytest.approx(1.5 * FRAME - 20)


def test_past_frames_are_an_interval_apart_and_no_more_are_stored_than_needed():
    history = FrameHistory(0.3)
    for k in range(200):
        past = history.update(FRAME, STILL, k / 25)
    assert len(past) == PAST
    assert len(history._snapshots) == PAST + 1
    assert np.diff([shot.pts for shot in history._snapshots]) == pytest.approx(0.32)


@pytest.mark.parametrize(("age", "comparable"), [(-0.1, False), (0.0, True), (1.7, True), (1.9, False)])
def test_frames_are_comparable_for_twice_the_time_that_the_past_ones_span(age, comparable):
    history = FrameHistory(0.3)
    history.update(FRAME, STILL, 5.0)
    assert history.is_comparable(FRAME, STILL, 5.0 + age) == comparable
    assert not history.is_comparable(FRAME[:, 1:], STILL, 5.04)
