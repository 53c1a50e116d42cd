"""Log-likelihood ratios of target against false alarms, by hand."""

import math

import numpy as np
import pytest

from pipeline.track.evidence import (
    RECENT_FRAMES,
    RECENT_S,
    USUAL_DETECTION,
    hit_evidence,
    miss_evidence,
    update_recent,
)


def test_hit_matches_hand_computed_values():
    # ln N(0; 0, S) = -ln(2 pi sqrt(36)) with S = diag(4, 9); at (3, 4) px with S = 4 I, d^2 = 25 / 4.
    twice_nll = np.array([math.log(36), 25 / 4 + math.log(16)])
    expected = [-math.log(2 * math.pi * 6), -25 / 8 - math.log(2 * math.pi * 4)]
    density = np.array([1e-4, 1.0])
    assert hit_evidence(twice_nll, np.ones(2), USUAL_DETECTION) == pytest.approx(expected)
    assert hit_evidence(twice_nll, density, USUAL_DETECTION) == pytest.approx(
        [expected[0] + math.log(1e4), expected[1]]
    )
    assert hit_evidence(twice_nll, np.ones(2), USUAL_DETECTION / 3) == pytest.approx(np.subtract(expected, math.log(3)))


def test_a_miss_is_evidence_against_a_target_the_more_the_better_it_is_seen():
    assert [math.exp(miss_evidence(p)) for p in (0.9, 0.4)] == pytest.approx([0.1, 0.6])


def test_recent_evidence_decays_with_time_but_no_faster_than_over_ten_frames():
    assert update_recent(np.array([8.0]), np.array([3.0]), RECENT_S / 20) == pytest.approx([8 * math.exp(-1 / 20) + 3])
    for dt in (RECENT_S / RECENT_FRAMES, 4.0):
        assert update_recent(np.array([8.0]), np.array([-2.0]), dt) == pytest.approx(
            [8 * math.exp(-1 / RECENT_FRAMES) - 2]
        )
    total = np.zeros(1)
    for _ in range(400):
        total = update_recent(total, np.ones(1), 0.04)
    assert total == pytest.approx([1 / (1 - math.exp(-0.04))])
