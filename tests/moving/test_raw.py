"""Thresholds of uncompressed pictures: noise, localised glitter, and targets that do not raise their own thresholds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.messages import IDENTITY, EgoMotion
from pipeline.moving.peaks import Peaks, find_peaks
from pipeline.moving.raw import FINE_CELL, FRAMES, RawThresholds

SHAPE = (256, 320)
STILL = EgoMotion(matrix=IDENTITY, inliers=50, ok=True, method="flow")
RATES = (0.2, 4.0)
STRIP = slice(80, 102)
"""Columns with glitter, narrower than half a cell of 64 px."""


def noise(rng):
    """Noise as in the matched-filter output: correlated over one or two pixels."""
    smooth = cv2.GaussianBlur(rng.normal(size=SHAPE), (0, 0), 1.0)
    return np.abs(smooth / smooth.std()).astype(np.float32)


def passed(picture, threshold):
    peaks = find_peaks(picture)
    return peaks.select(peaks.height > threshold[peaks.y, peaks.x])


def glitter(rng):
    picture = noise(rng)
    rows, columns = rng.integers(0, SHAPE[0], 80), rng.integers(STRIP.start, STRIP.stop, 80)
    picture[rows, columns] += rng.exponential(8, 80)
    return picture


def follow(pictures):
    """Return the thresholds after each picture, and the estimator."""
    raw = RawThresholds()
    return [raw.update(find_peaks(picture), SHAPE, STILL, 3, RATES) for picture in pictures], raw


def test_noise_passes_at_most_at_twice_the_rate_of_each_threshold():
    rng = np.random.default_rng(0)
    pictures = [noise(rng) for _ in range(60)]
    thresholds, raw = follow(pictures)
    assert raw.noisy > 0.9
    counts = [len(passed(*pair).x) for pair in zip(pictures, thresholds, strict=True)]
    assert 0.5 * RATES[1] < np.mean(counts[20:]) < 2 * RATES[1]


def test_glitter_raises_thresholds_only_where_it_occurs():
    rng = np.random.default_rng(1)
    (*_, last), _ = follow([glitter(rng) for _ in range(40)])
    calm = np.delete(np.arange(SHAPE[1]), np.s_[STRIP.start - FINE_CELL : STRIP.stop + FINE_CELL])
    (*_, even), _ = follow([noise(rng) for _ in range(40)])
    assert last[:, STRIP].min() > 1.5 * last[:, calm].max()
    assert np.median(last[:, calm]) == pytest.approx(np.median(even[:, calm]), rel=0.25)


def test_glitter_thresholds_follow_the_scene_while_the_camera_pans():
    rng = np.random.default_rng(2)
    pan = EgoMotion(matrix=(1, 0, 2, 0, 1, 0), inliers=50, ok=True, method="flow")
    world = [np.pad(glitter(rng), ((0, 0), (2 * k, 0)))[:, : SHAPE[1]] for k in range(FRAMES)]
    raw, still = RawThresholds(), RawThresholds()
    for picture in world:
        moved = raw.update(find_peaks(picture), SHAPE, pan, 3, RATES)
        smeared = still.update(find_peaks(picture), SHAPE, STILL, 3, RATES)
    now = slice(STRIP.start + 2 * FRAMES - 2, STRIP.stop + 2 * FRAMES - 2)
    behind = slice(STRIP.start - 2, STRIP.start + 2)
    assert np.median(moved[:, now]) > np.median(smeared[:, now])
    assert np.median(moved[:, behind]) < np.median(smeared[:, behind])


def test_targets_do_not_raise_their_own_thresholds_for_long():
    rng = np.random.default_rng(3)
    pictures = [noise(rng) for _ in range(60)]
    (*_, bare), _ = follow(pictures)
    for k, picture in enumerate(pictures):
        for row in range(8, SHAPE[0], 16):
            picture[row, 8 + k : SHAPE[1] : 16] = 12
    (*_, crowded), raw = follow(pictures)
    assert raw.noisy > 0.9
    assert np.median(crowded) < 1.15 * np.median(bare)


def test_a_frame_with_few_peaks_does_not_change_thresholds():
    none = Peaks(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    raw = RawThresholds()
    assert np.isinf(raw.update(none, SHAPE, STILL, 3, RATES)).all()
    rng = np.random.default_rng(4)
    before = [raw.update(find_peaks(noise(rng)), SHAPE, STILL, 3, RATES) for _ in range(10)][-1]
    np.testing.assert_allclose(raw.update(none, SHAPE, STILL, 3, RATES), before, rtol=0.1)


def test_running_means_are_reset_when_the_number_of_past_frames_changes():
    rng = np.random.default_rng(5)
    raw = RawThresholds()
    for _ in range(20):
        raw.update(find_peaks(3 * noise(rng)), SHAPE, STILL, 1, RATES)
    picture = noise(rng)
    calm = raw.update(find_peaks(picture), SHAPE, STILL, 3, RATES)
    alone = RawThresholds().update(find_peaks(picture), SHAPE, STILL, 3, RATES)
    assert np.median(calm) < 1.5 * np.median(alone)


def test_one_extreme_frame_does_not_desensitise_for_long():
    rng, raw = np.random.default_rng(6), RawThresholds()
    heights = [1.0] * 20 + [100.0] + [1.0] * 15
    medians = [np.median(raw.update(find_peaks(h * noise(rng)), SHAPE, STILL, 3, RATES)) for h in heights]
    assert medians[20] > 10
    assert medians[-1] < 1.2 * medians[19]


def test_two_past_frames_do_not_tell_noise_from_clutter():
    rng, raw = np.random.default_rng(7), RawThresholds()
    for _ in range(20):
        raw.update(find_peaks(noise(rng)), SHAPE, STILL, 3, RATES)
    before = raw.noisy
    for compared in (2, 3):
        raw.update(find_peaks(rng.exponential(2, SHAPE).astype(np.float32)), SHAPE, STILL, compared, RATES)
        assert (raw.noisy == before) == (compared == 2)
