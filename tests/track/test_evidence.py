"""Likelihood ratios of target and chance, worked by hand."""

import math

import numpy as np
import pytest

from pipeline.track.evidence import MISS, ChanceDensity, hit


def test_a_hit_by_hand():
    # ln N(0; 0, S) = -ln(2 pi sqrt(36)) with S = diag(4, 9); at 3, 4 px with S = 4 I the distance squared is 25 / 4.
    misfit = np.array([math.log(36), 25 / 4 + math.log(16)])
    expected = [-math.log(2 * math.pi * 6), -25 / 8 - math.log(2 * math.pi * 4)]
    assert hit(misfit, 1.0) == pytest.approx(expected)
    assert hit(misfit, 1e-4) == pytest.approx([e + math.log(1e4) for e in expected])


def test_a_miss_speaks_against_a_target():
    assert math.exp(MISS) == pytest.approx(0.1)


def test_the_density_follows_what_comes_by_chance_and_never_says_never():
    chance = ChanceDensity(area=1000.0)
    assert chance.see(8) == pytest.approx(8e-3)
    assert chance.see(3) == pytest.approx(7e-3)
    for _ in range(100):
        density = chance.see(0)
    assert density == pytest.approx(0.5e-3)
