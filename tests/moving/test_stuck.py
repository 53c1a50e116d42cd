"""Stuck pixels are learned and replaced; the scene stays unchanged."""

from __future__ import annotations

import numpy as np

from pipeline.moving.stuck import StuckPixels

H, W = 40, 60


def frame(rng, shift):
    x = np.arange(W) + shift
    return (1000 + 100 * np.sin(x / 5)[None, :] + rng.normal(0, 8, (H, W))).astype(np.float32)


def test_pixels_that_stick_out_of_a_moving_scene_are_mended():
    rng, stuck, passed = np.random.default_rng(0), StuckPixels(), None
    for k in range(20):
        picture = frame(rng, k)
        picture[10, 20], picture[30, 40] = 16383, 0
        whole = picture.copy()
        passed, mended = stuck.mend(picture)
        assert np.array_equal(picture, whole)
    assert passed is not None
    changed = np.argwhere(passed != whole).tolist()
    assert [list(divmod(at, W)) for at in mended["at"]] == changed
    assert mended["count"].tolist() == passed[passed != whole].tolist()
    assert [10, 20] in changed
    assert [30, 40] in changed
    assert len(changed) < 6
    assert abs(passed[10, 20] - whole[10, 19]) < 60


def test_a_target_that_flies_by_is_left_alone():
    rng, stuck = np.random.default_rng(0), StuckPixels()
    for k in range(60):
        picture = frame(rng, k)
        if k >= 20:
            picture[20, k - 15] += 200
        passed, _ = stuck.mend(picture)
        if k >= 20:
            assert passed[20, k - 15] == picture[20, k - 15]


def test_noise_free_compressed_frames_are_left_unchanged():
    stuck, picture = StuckPixels(), np.full((H, W), 90, np.float32)
    for _ in range(5):
        assert np.array_equal(stuck.mend(picture)[0], picture)
