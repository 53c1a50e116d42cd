"""What contrast says of what has changed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.moving.prominence import LEAST, MOST, OTHERS, TARGETS, prominence


def test_by_hand():
    """At the targets' median their density is 1 / (3 x 0.75 x 2.5066), that of all else exp(-3 / 3.4) / 3.4."""
    assert prominence(np.array([3.0])) == pytest.approx([math.log(3.4 / (3 * 0.75 * 2.5066)) + 3 / 3.4], abs=1e-3)
    assert prominence(np.array([])).shape == (0,)


@given(st.floats(-1e6, 1e6))
def test_dark_or_bright_it_is_the_same_and_bounded(snr):
    (dark,), (bright,) = prominence(np.array([-abs(snr)])), prominence(np.array([abs(snr)]))
    assert dark == bright
    assert LEAST <= dark <= MOST


def test_what_shows_nothing_speaks_against_a_target_and_what_does_for_one():
    contrast = np.array([0.0, 0.3, 0.6, 1.0, 2.0, 3.0])
    said = prominence(contrast)
    assert said[0] == LEAST
    assert (np.diff(said) > 0).all()
    assert said[2] < -0.5 < 0 < said[4]


def test_on_average_it_is_right_about_both():
    rng = np.random.default_rng(5)
    median, deviation = TARGETS
    assert prominence(median * np.exp(deviation * rng.standard_normal(20_000))).mean() > 0.1
    assert prominence(rng.exponential(OTHERS, 20_000)).mean() < -0.1
