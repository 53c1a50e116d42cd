"""Persistent peaks are excluded from the estimation of thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.messages import IDENTITY, EgoMotion
from pipeline.moving.peaks import find_peaks
from pipeline.moving.persistence import MAX_AGE_FRAMES, REACH_PX, PersistentPeaks
from pipeline.moving.threshold import ranked_peaks

SHAPE = (128, 192)
STILL = EgoMotion(matrix=IDENTITY, inliers=50, ok=True, method="flow")


def noise(seed):
    return np.abs(np.random.default_rng(seed).normal(0, 1, SHAPE)).astype(np.float32)


def with_targets(seed, places, height=9.0):
    picture = noise(seed)
    for x, y in places:
        picture[int(y), int(x)] = height
    return picture


def all_of(picture):
    return ranked_peaks(find_peaks(picture), SHAPE)


def after(frames, ego=STILL):
    """Return the ranked heights of the non-persistent peaks of the last frame."""
    persistence, transient = PersistentPeaks(), None
    for picture in frames:
        transient, _ = persistence.remove_persistent(find_peaks(picture), SHAPE, ego)
    return ranked_peaks(transient, SHAPE)


GRID = [(10 + 16 * i, 10 + 16 * j) for i in range(12) for j in range(8)]
"""Sixteen targets per cell: more than the first rank from which the tail is estimated."""


def test_all_peaks_count_until_they_are_persistent():
    frames = [with_targets(k, GRID) for k in range(MAX_AGE_FRAMES)]
    np.testing.assert_array_equal(after(frames), all_of(frames[-1]))


@pytest.mark.parametrize("step", [0, REACH_PX])
def test_persistent_targets_in_every_cell_leave_the_peak_heights_of_noise(step):
    count = 3 * MAX_AGE_FRAMES
    frames = [with_targets(k, [(x + step * k * (y % 32 == 10), y) for x, y in GRID[: 12 * 8 // 2]]) for k in range(12)]
    bare = np.mean([all_of(noise(k)) for k in range(count)], axis=0)
    crowded = all_of(frames[-1])
    remaining = after(frames)
    assert crowded[:, :2, 0] == pytest.approx(9.0)
    np.testing.assert_allclose(remaining, bare, rtol=0.2)


COLUMN = [(4, 8), (4, 22), (4, 36), (4, 50)]
"""Four targets in one cell, which occupy the first of the ranks."""


def test_followed_peaks_move_with_the_camera():
    step = REACH_PX + 2
    pan = EgoMotion(matrix=(1, 0, step, 0, 1, 0), inliers=50, ok=True, method="flow")
    frames = [with_targets(k, [(x + step * k, y) for x, y in COLUMN]) for k in range(MAX_AGE_FRAMES + 3)]
    assert after(frames, pan)[0, 0, 0] < 5
    assert after(frames)[0, 0, 0] == 9


def test_noise_is_not_persistent():
    frames = [noise(k) for k in range(40)]
    np.testing.assert_allclose(after(frames), all_of(frames[-1]), rtol=0.1)


def test_a_jump_beyond_reach_resets_the_age():
    frames = [with_targets(k, COLUMN) for k in range(MAX_AGE_FRAMES + 1)]
    leapt = with_targets(99, [(x + REACH_PX + 6, y + REACH_PX + 4) for x, y in COLUMN])
    assert after(frames)[0, 0, 0] < 5
    assert after([*frames, leapt])[0, 0, 0] == 9
