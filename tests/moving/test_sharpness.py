"""Log-likelihood ratio of sharpness relative to other changes."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.moving.peaks import Peaks
from pipeline.moving.sharpness import MIN_COUNT, SHARE, Sharpness, sharpness, sharpness_map

FLAT = np.zeros((20, 30), np.float32)


def of(*others, weight=1.0):
    return Sharpness(FLAT, np.array(others, np.float32), weight)


def test_a_pixel_alone_is_as_sharp_as_it_is_high_and_so_is_a_dark_one():
    for height in (10.0, -10.0):
        picture = FLAT + 100
        picture[10, 15] += height
        sharp = sharpness_map(picture)
        assert (sharp[9:12, 14:17] == 10).all()
        assert sharp[10, 17] == 2.5
        assert sharp[10, 18] == 0


def test_the_wider_a_spot_the_less_sharp_and_a_slope_is_not_sharp_at_all():
    pixel = FLAT.copy()
    pixel[10, 15] = 100
    sharpest = []
    for sigma in (0.5, 1.0, 2.0, 4.0):
        spot = cv2.GaussianBlur(pixel, (0, 0), sigma)
        sharpest.append(sharpness_map(spot / spot.max()).max())
    assert sharpest == sorted(sharpest, reverse=True)
    assert sharpest[0] > 0.8
    assert sharpest[-1] < 0.1
    slope = np.tile(np.arange(30, dtype=np.float32), (20, 1))
    assert sharpness_map(slope)[:, 2:-2].max() == 0


def test_likelihoods_worked_by_hand():
    # One of three is as sharp; counting the value itself, half are. The density of Beta(0.1, 1) is 0.1 u^-0.9.
    assert of(1, 2, 3).log_likelihood_ratio(np.array([2.5])) == pytest.approx(math.log(0.1 * 0.5**-0.9))
    assert of(1, 2, 3).log_likelihood_ratio(np.array([0.0, 3.0, 9.0])) == pytest.approx(
        np.log([0.1, 0.1 * 0.5**-0.9, 0.1 * 0.25**-0.9])
    )
    assert of(1, 2, 3, weight=0.5).log_likelihood_ratio(np.array([9.0])) == pytest.approx(
        0.5 * math.log(0.1 * 0.25**-0.9)
    )
    assert of(1, 2, 3, weight=0.0).log_likelihood_ratio(np.array([9.0])) == 0


@given(
    st.lists(st.floats(0, 1e4, width=32), max_size=60), st.lists(st.floats(0, 1e4, width=32), min_size=2, max_size=20)
)
def test_log_likelihood_ratio_increases_with_sharpness(others, asked):
    ratios = of(*sorted(others)).log_likelihood_ratio(np.sort(np.array(asked)))
    assert np.isfinite(ratios).all()
    assert (np.diff(ratios) >= 0).all()


def test_chance_is_no_evidence():
    rng = np.random.default_rng(0)
    drawn = [of(*np.sort(rng.exponential(size=200))).log_likelihood_ratio(rng.exponential(size=200)) for _ in range(50)]
    assert np.exp(drawn).mean() < 1.0
    assert np.mean(drawn) < -1


def test_only_the_greatest_changes_are_references():
    rng = np.random.default_rng(1)
    y, x = np.divmod(np.arange(0, 10_000, 10), 100)
    y *= 3
    peaks = Peaks(x, y, rng.uniform(1, 2, len(x)).astype(np.float32))
    greatest = np.argsort(-peaks.height)[: round(SHARE * len(x))]
    picture = np.zeros((300, 100), np.float32)
    assert len(sharpness(picture, peaks, 1.0).references) == len(greatest) == 100
    picture[y[greatest], x[greatest]] = 7
    assert (sharpness(picture, peaks, 1.0).references >= 5).all()
    first = np.arange(len(x))
    assert len(sharpness(picture, peaks.select(first < 70), 1.0).references) == MIN_COUNT
    assert len(sharpness(picture, peaks.select(first < 0), 1.0).references) == 0
