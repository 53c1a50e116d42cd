"""Track confirmation, coasting and end, mostly as tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.messages import COASTING, CONFIRMED, DETECTION_DTYPE, TENTATIVE
from pipeline.track.clutter import ClutterConfig
from pipeline.track.config import TrackConfig
from pipeline.track.lifecycle import (
    MIN_RECENT_EVIDENCE,
    SMALL,
    STRONG_EVIDENCE,
    SUFFICIENT_EVIDENCE,
    VIABLE_EVIDENCE,
    fed_by_clutter,
    hit_weight,
    is_steady,
    is_viable,
    next_state,
)
from tests.messages import rows

T, C, K, GONE = TENTATIVE, CONFIRMED, COASTING, None


@pytest.mark.parametrize(
    ("m", "n", "hits", "states"),
    [
        (1, 1, "1001", [C, K, K, C]),
        (2, 3, "11", [T, C]),
        (2, 3, "101", [T, T, C]),
        (2, 3, "100", [T, T, GONE]),
        (3, 3, "10", [T, GONE]),
        (3, 5, "10101", [T, T, T, T, C]),
        (3, 5, "111000", [T, T, C, K, K, K]),
        (3, 5, "1000", [T, T, T, GONE]),
        (3, 5, "11000", [T, T, T, T, GONE]),
        (3, 5, "1101011", [T, T, T, C, K, C, C]),
    ],
)
def test_m_of_n(m, n, hits, states):
    config = TrackConfig(confirm_hits=m, confirm_window=n, clutter=ClutterConfig(enabled=False))
    state, count = np.array([C if m == 1 else T]), np.array([1])
    seen = [int(state[0])]
    for age, hit in enumerate(hits[1:], start=2):
        count += int(hit)
        state = next_state(state, lived(count[0]), np.array([hit == "1"]), config)
        alive = is_viable(state, lived(count[0], age=age), config)[0]
        seen.append(int(state[0]) if alive else GONE)
    assert seen == states


@pytest.mark.parametrize(
    ("state", "hits", "new_hits", "known_hits", "few", "after"),
    [
        (T, 9, 1, 0, 0, T),
        (T, 9, 2, 7, 0, C),
        (T, 2, 2, 0, 0, T),
        (T, 9, 0, 0, 1, C),
        (T, 9, 0, 1, 1, T),
        (C, 9, 0, 9, 0, C),
        (K, 9, 0, 9, 0, C),
    ],
)
def test_stationary_clutter_is_kept_but_not_confirmed(state, hits, new_hits, known_hits, few, after):
    config = TrackConfig(confirm_hits=3, confirm_window=5, clutter=ClutterConfig(new_hits=2, few=few))
    found = next_state(np.array([state]), lived(hits, new_hits, known_hits), np.array([True]), config)
    assert found.tolist() == [after]
    assert is_viable(found, lived(hits, age=100), config).tolist() == [hits >= 3]


@pytest.mark.parametrize(
    ("hits", "known_hits", "moved", "evidence", "after"),
    [
        (4, 0, 4.0, 32.0, C),
        (4, 0, 3.9, 99.0, T),  # still where it began
        (4, 0, 9.0, 31.9, T),
        (3, 0, 9.0, 99.0, T),
        (40, 1, 9.0, 99.0, T),  # something was there before
    ],
)
def test_a_track_that_has_departed_need_not_wait_for_a_past(hits, known_hits, moved, evidence, after):
    config = TrackConfig(clutter=ClutterConfig(few=0))
    life = lived(hits, 0, known_hits, moved=moved, evidence=evidence)
    assert next_state(np.array([T]), life, np.array([True]), config).tolist() == [after]


@pytest.mark.parametrize(
    ("hits", "clear_hits", "age", "moved", "evidence", "recent", "after"),
    [
        (3, 3, 3, 0.0, -9.0, 0.0, C),
        (6, 2, 8, 9.0, 19.9, 19.9, T),  # evidence just too low
        (6, 2, 8, 2.9, 90.0, 50.0, T),  # has not moved far enough
        (6, 2, 8, 3.0, 20.0, 20.0, C),
        (6, 0, 9, 9.0, 90.0, 50.0, T),  # too many misses
        (56, 0, 132, 9.0, 90.0, STRONG_EVIDENCE - 0.1, T),  # recent evidence just too low to outweigh the misses
        (70, 0, 146, 9.0, 170.0, STRONG_EVIDENCE, C),  # recent evidence outweighs the misses
        (9, 3, 90, 0.0, -9.0, 0.0, C),  # network hits are enough
    ],
)
def test_motion_tracks_must_have_moved(hits, clear_hits, age, moved, evidence, recent, after):
    config = TrackConfig(
        confirm_hits=3, confirm_window=5, motion_evidence=20.0, moved_px=3.0, clutter=ClutterConfig(enabled=False)
    )
    life = lived(hits, clear_hits=clear_hits, age=age, moved=moved, evidence=evidence, recent=recent)
    assert next_state(np.array([T]), life, np.array([True]), config).tolist() == [after]


@pytest.mark.parametrize(("random_clutter", "after"), [(False, [T, T]), (True, [C, T])])
def test_gaps_are_allowed_in_random_clutter(random_clutter, after):
    """Detected in two frames of five, which is no sign of clutter there; the evidence decides."""
    config = TrackConfig(clutter=ClutterConfig(enabled=False))
    rich, poor = (
        lived(8, clear_hits=0, age=20, moved=9.0, evidence=said)
        for said in (SUFFICIENT_EVIDENCE, SUFFICIENT_EVIDENCE - 0.1)
    )
    found = next_state(np.full(2, T), np.concatenate([rich, poor]), np.ones(2, bool), config, random_clutter)
    assert found.tolist() == after


@pytest.mark.parametrize(("random_clutter", "waited_for"), [(False, [False, False]), (True, [True, False])])
def test_evidence_keeps_a_track_viable_in_random_clutter(random_clutter, waited_for):
    life = np.concatenate([lived(3, age=8, evidence=said) for said in (VIABLE_EVIDENCE, VIABLE_EVIDENCE - 0.1)])
    assert is_viable(np.full(2, T), life, TrackConfig(), random_clutter).tolist() == waited_for


@pytest.mark.parametrize(
    ("snr", "motion", "clear_snr", "told"),
    [(20, 0, 10, 1), (10, 0, 10, 1), (2.5, 0, 10, 0.25), (-5, 0, 10, 0.5), (0, 0, 10, 0), (0, 0, 0, 1), (20, 7, 10, 0)],
)
def test_hit_weight_is_proportional_to_contrast(snr, motion, clear_snr, told):
    detection = rows(DETECTION_DTYPE, {"snr": snr, "motion": motion})
    assert hit_weight(detection, clear_snr).tolist() == [told]


@pytest.mark.parametrize(
    ("area", "appearance", "told"),
    [(9, 0, 1), (9, 2, 1), (9, -2, math.exp(-2)), (SMALL, -2, 1), (SMALL - 1, -1, math.exp(-1))],
)
def test_small_soft_detections_weigh_less(area, appearance, told):
    detection = rows(DETECTION_DTYPE, {"snr": 20, "area": area, "appearance": appearance})
    assert hit_weight(detection, 10).tolist() == [told]


def test_motion_tracks_do_not_count_against_tracks_of_the_network():
    config = TrackConfig(confirm_hits=3, confirm_window=5, clutter=ClutterConfig(new_hits=2, few=2))
    life = np.concatenate([lived(4)] * 2 + [lived(4, clear_hits=0, age=4, moved=3.5, evidence=99.0)] * 3)
    after = next_state(np.full(5, T), life, np.ones(5, bool), config)
    assert after.tolist() == [C, C, T, T, T]
    assert next_state(np.full(3, T), life[:3], np.ones(3, bool), config).tolist() == [C, C, T]
    assert next_state(np.full(2, T), life[3:], np.ones(2, bool), config).tolist() == [C, C]


def lived(hits, new_hits=0, known_hits=0, clear_hits=None, age=1, moved=0.0, evidence=0.0, recent=0.0):
    counts, measures = ("hits", "new_hits", "known_hits", "age"), ("clear_hits", "moved", "evidence", "recent")
    values = (hits, new_hits, known_hits, age, hits if clear_hits is None else clear_hits, moved, evidence, recent)
    return np.array([values], [*((name, "<i8") for name in counts), *((name, "<f8") for name in measures)])


@pytest.mark.parametrize(
    ("state", "hits", "age", "steady"), [(C, 25, 31, True), (C, 24, 24, False), (C, 30, 60, False), (T, 90, 90, False)]
)
def test_a_steady_track_has_a_long_history_and_few_misses(state, hits, age, steady):
    life = np.array([(hits, age)], [("hits", "<i8"), ("age", "<i8")])
    assert is_steady(np.array([state]), life).tolist() == [steady]


def test_only_confirmed_tracks_end_for_lack_of_recent_evidence():
    state = np.array([T, C, K, C, K])
    recent = np.array(
        [0.0, MIN_RECENT_EVIDENCE - 0.1, MIN_RECENT_EVIDENCE - 0.1, MIN_RECENT_EVIDENCE, MIN_RECENT_EVIDENCE]
    )
    assert fed_by_clutter(state, recent).tolist() == [False, True, True, False, False]
