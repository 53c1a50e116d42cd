"""Fusion of the detections of the network and of motion."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.messages import DETECTION_DTYPE, REPLACED_DTYPE
from pipeline.moving.change_detection import MotionEvidence
from pipeline.moving.fusion import (
    KEEP_MARGIN,
    REACH_PX,
    START_MARGIN,
    merge,
    motion_detections,
    network_llr,
    with_appearance,
)
from pipeline.moving.handover import exceeding
from pipeline.moving.peaks import find_peaks
from pipeline.moving.prominence import prominence
from pipeline.moving.sharpness import sharpness
from tests.messages import rows

PICTURE = np.full((40, 50), 100, np.uint16)


def peaks(*spots):
    found = np.zeros((40, 50), np.float32)
    for x, y, height in spots:
        found[y, x] = height
    sharp = sharpness(np.where(found > 5, found, 0), find_peaks(found), 1.0)
    return MotionEvidence(found, np.full_like(found, 5.0), sharp, np.zeros(0, REPLACED_DTYPE))


def detect(evidence, start_score=0.99, low_score=0.4):
    return motion_detections(
        exceeding(evidence), PICTURE, start_score=start_score, low_score=low_score, max_area=100, limit=10
    )


def test_log_odds_are_linear_in_the_excess_over_the_threshold():
    table = detect(
        peaks((10, 10, 5.0), (30, 20, 5.2), (40, 30, 4.9), (20, 35, 5 - KEEP_MARGIN - 0.01)),
        start_score=0.9999,
        low_score=0.4,
    )
    odds = [math.log(score / (1 - score)) for score in table["score"]]
    slope = (math.log(9999) - math.log(0.4 / 0.6)) / (START_MARGIN + KEEP_MARGIN)
    assert odds == pytest.approx(
        [math.log(9999) + slope * (over - START_MARGIN) for over in (0.2, 0.0, -0.1)], abs=0.01
    )
    assert table["motion"] == pytest.approx([5.2, 5.0, 4.9])
    assert [(row["x"], row["y"]) for row in table] == [(30, 20), (10, 10), (40, 30)]


@pytest.mark.parametrize("over", [START_MARGIN - 0.01, START_MARGIN + 0.01])
def test_only_a_peak_well_over_the_threshold_may_start_a_track(over):
    (row,) = detect(peaks((10, 10, 5 + over)), start_score=0.99)
    assert (row["score"] >= 0.99) == (over > START_MARGIN)


def test_low_score_equal_to_start_score_gives_no_weak_detections():
    table = detect(peaks((10, 10, 5.0 + START_MARGIN), (30, 20, 4.9 + START_MARGIN)), start_score=0.9, low_score=0.9)
    assert [(row["x"], row["y"]) for row in table] == [(10, 10)]


def test_an_infinite_threshold_passes_nothing_and_a_huge_peak_scores_below_one():
    assert len(detect(peaks((10, 10, 9.0))._replace(threshold=np.full((40, 50), math.inf, np.float32)))) == 0
    (row,) = detect(peaks((10, 10, 500.0)))
    assert 0.999 < row["score"] < 1


def box(x, y, score, motion=0.0, side=3):
    corner = {"bx": x - side // 2, "by": y - side // 2, "bw": side, "bh": side}
    return {"x": x, "y": y, "score": score, "motion": motion, **corner}


def joined(network, motion, **options):
    tables = (rows(DETECTION_DTYPE, *part) for part in (network, motion))
    table = merge(*tables, **{"start_score": 0.99, "limit": 10, **options})
    return [(row["x"], row["y"], row["score"], row["motion"]) for row in table]


def test_an_object_found_by_both_is_merged_with_the_better_score():
    motion = [box(16, 10, 0.995, 7.0)]
    assert joined([box(10, 10, 0.6)], motion) == [(10, 10, 0.995, 7.0)]
    assert joined([box(10, 10, 0.992)], motion) == [(10, 10, 0.992, 0.0)]  # the network alone may start a track
    assert joined([box(10, 10, 0.98)], [box(16, 10, 0.5, 4.5)]) == [(10, 10, 0.98, 0.0)]


@pytest.mark.parametrize("side", [-1, 1])
def test_reach_is_measured_from_the_outermost_pixels_of_the_box(side):
    edge = 20 + side * (1 + REACH_PX)
    assert len(joined([box(20, 20, 0.6)], [box(edge, 20, 0.995, 7.0)])) == 1
    assert len(joined([box(20, 20, 0.6)], [box(20, edge, 0.995, 7.0)])) == 1
    assert len(joined([box(20, 20, 0.6)], [box(edge + 0.5 * side, 20, 0.995, 7.0)])) == 2


def test_appearance_is_sharpness_plus_prominence_for_motion_detections():
    seen = peaks((10, 10, 5.2), (30, 20, 5.0), (40, 30, 4.9), (20, 35, 4.0))
    found = rows(DETECTION_DTYPE, box(10, 10, 0.6), box(30, 20, 0.995, 5.0), box(20, 20, 0.9, 4.9))
    found["snr"] = 0.5, 0.5, -4.0
    appearance = with_appearance(found, seen.sharpness, None)["appearance"]
    # One of four references is sharp. Counting the object itself, 2 of 5 are as sharp as it, and 5 of 5 for the others.
    sharp = np.log([0.1 * 0.4**-0.9, 0.1, 0.1])
    assert appearance - sharp == pytest.approx([0, *prominence(found["snr"][1:])])
    quarter_weight = with_appearance(found, seen.sharpness._replace(weight=0.25), None)["appearance"]
    assert quarter_weight == pytest.approx(appearance / 4)
    assert not found["appearance"].any()
    assert len(with_appearance(found[:0], seen.sharpness, None)) == 0


def test_a_network_with_change_input_adds_its_log_likelihood_ratio():
    assert network_llr(np.array([0.0, 1 / (1 + math.e**9), 1 / (1 + math.e**7), 0.5, 0.99, 1.0])) == pytest.approx(
        [-1.5, -0.6, 0, 2.1, 3, 3]
    )
    seen, probability = peaks((10, 10, 5.2), (30, 20, 5.0)), np.zeros(PICTURE.shape, np.float32)
    found = rows(DETECTION_DTYPE, box(10, 10, 0.6), box(30, 20, 0.995, 5.0))
    probability[11, 9] = 0.5  # the maximum within the box counts
    appearance, before = (with_appearance(found, seen.sharpness, map_)["appearance"] for map_ in (probability, None))
    assert appearance - before == pytest.approx([2.1, -1.5], abs=1e-6)


def test_separate_objects_stay_separate_sorted_and_limited():
    network, motion = [box(10, 10, 0.97)], [box(18, 10, 0.995, 7.0), box(10, 30, 0.5, 4.6)]
    both = [(18, 10, 0.995, 7.0), (10, 10, 0.97, 0.0), (10, 30, 0.5, 4.6)]
    assert joined(network, motion) == both
    assert joined(network, motion, limit=2) == both[:2]
    assert joined(network, []) == both[1:2]
    assert joined([], motion) == [both[0], both[2]]


def test_the_network_table_is_not_modified():
    network = rows(DETECTION_DTYPE, box(10, 10, 0.6))
    network.flags.writeable = False
    merge(network, rows(DETECTION_DTYPE, box(11, 10, 0.999, 8.0)), start_score=0.99, limit=5)
    assert network["score"].tolist() == [0.6]
