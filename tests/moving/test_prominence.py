"""Log-likelihood ratio of the contrast of changes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.moving.prominence import MIN_LLR, OTHER_MEAN_CONTRAST, TARGET_CONTRAST, prominence


def test_by_hand():
    """At a quarter of the targets' median their density is exp(-(ln 4 / 0.75)^2 / 2) / (0.75 x 0.75 x 2.5066)."""
    target = -((math.log(4) / 0.75) ** 2) / 2 - math.log(0.75 * 0.75 * 2.5066)
    other = -0.75 / 3.4 - math.log(3.4)
    assert prominence(np.array([0.75, 3.0])) == pytest.approx([target - other, 0], abs=1e-3)
    assert prominence(np.array([])).shape == (0,)


@given(st.floats(-1e6, 1e6))
def test_the_sign_of_contrast_does_not_matter_and_the_result_is_bounded(snr):
    (dark,), (bright,) = prominence(np.array([-abs(snr)])), prominence(np.array([abs(snr)]))
    assert dark == bright
    assert MIN_LLR <= dark <= 0


def test_low_contrast_counts_against_a_target():
    ratios = prominence(np.array([0.0, 0.3, 0.6, 1.0, 2.0, 10.0, 50.0]))
    assert ratios[0] == MIN_LLR
    assert (np.diff(ratios[:5]) > 0).all()
    assert ratios[2] < -0.5
    assert (ratios[4:] == 0).all()


def test_the_cost_for_targets_is_small_compared_with_other_changes():
    rng = np.random.default_rng(5)
    median, deviation = TARGET_CONTRAST
    target = prominence(median * np.exp(deviation * rng.standard_normal(20_000))).mean()
    assert prominence(rng.exponential(OTHER_MEAN_CONTRAST, 20_000)).mean() < 3 * target < 0
