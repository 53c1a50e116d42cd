from __future__ import annotations

import numpy as np
import pytest

from pipeline.sinks.stretch import MIN_SPAN, TIME_CONSTANT_S, Stretch


def scene(seed=0, level=20_000, spread=500):
    return np.random.default_rng(seed).normal(level, spread, (120, 160)).clip(0, 65_535).astype(np.uint16)


def test_noise_of_16_bits_fills_the_range_without_clipping_much():
    shown = Stretch()(scene(), 0.0)
    assert shown.dtype == np.uint8
    assert 100 < np.median(shown) < 155
    assert ((shown == 0) | (shown == 255)).mean() < 0.01
    assert np.ptp(shown) > 200


def test_a_small_bright_target_does_not_darken_the_scene():
    picture = scene()
    plain = Stretch()(picture, 0.0)
    picture[50:53, 60:63] = 60_000
    with_target = Stretch()(picture, 0.0)
    assert (with_target[50:53, 60:63] == 255).all()
    assert abs(int(np.median(with_target)) - int(np.median(plain))) <= 1


def test_stretch_is_monotonic():
    ramp = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    assert (np.diff(Stretch()(ramp, 0.0).ravel().astype(int)) >= 0).all()


def test_noise_in_a_uniform_picture_is_not_amplified():
    sky = np.random.default_rng(0).normal(100, 0.6, (120, 160)).round().astype(np.uint8)
    assert np.ptp(Stretch()(sky, 0.0)) < 255 / MIN_SPAN * 8
    assert np.unique(Stretch()(np.full((40, 40), 9, np.uint8), 0.0)).size == 1


def test_the_picture_does_not_flicker():
    stretch = Stretch()
    shown = [np.median(stretch(scene(i), i / 25)) for i in range(30)]
    assert np.ptp(shown) <= 3


def test_a_sudden_change_is_followed_slowly():
    stretch = Stretch()
    stretch(scene(level=20_000), 0.0)
    dark, light = (float(np.median(stretch(scene(level=21_000), pts))) for pts in (0.04, 5 * TIME_CONSTANT_S))
    assert dark > 190
    assert light == pytest.approx(127, abs=10)


def test_time_that_runs_backwards_changes_nothing():
    stretch = Stretch()
    first = stretch(scene(), 10.0)
    stretch(scene(level=30_000), 5.0)
    assert np.array_equal(stretch(scene(), 5.0), first)
