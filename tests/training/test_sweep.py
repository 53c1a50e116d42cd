import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import naive
from tests.training.test_strict import assert_one_of, paint, shapes
from training.metrics.strict import StrictScore
from training.metrics.sweep import markdown, sweep


def test_each_threshold_sees_its_own_mask():
    probability = np.array([[0.2, 0.0, 0.0, 0.0, 0.7, 0.9]], np.float32)
    truth = np.array([[False, False, False, False, True, True]])
    low, high, none = (score.summary() for score in sweep([(probability, truth)], [0.2, 0.7, 0.95], StrictScore))
    assert (low["pd"], low["false_alarms_per_picture"], low["iou"]) == (1, 1, 2 / 3)
    assert (high["pd"], high["false_alarms_per_picture"], high["iou"]) == (1, 0, 1)
    assert (none["pd"], none["iou"]) == (0, 0)


def test_a_probability_equal_to_the_threshold_is_a_detection_unless_told_otherwise():
    maps = [(np.array([[0.7]], np.float32), np.array([[True]]))]
    assert sweep(maps, [0.7], StrictScore)[0].summary()["pd"] == 1
    assert sweep(maps, [0.7], StrictScore, np.greater)[0].summary()["pd"] == 0


def test_maps_are_taken_one_at_a_time():
    alive = []

    def maps():
        for k in range(3):
            alive.append(k)
            yield np.full((2, 2), 0.5, np.float32), np.ones((2, 2), bool)
            alive.remove(k)
            assert not alive

    assert [score.pictures for score in sweep(maps(), [0.1, 0.9], StrictScore)] == [3, 3]


def test_table():
    figures = {"pictures": 3, "targets": 0, "iou": 0.5, "niou": None, "pd": None, "fa": 2.5e-6}
    table = markdown({"sky": figures | {"false_alarms_per_picture": 0.25}}).splitlines()
    assert table[0].split(" | ")[5:7] == ["Pd", "Fa (1e-6)"]
    assert table[2] == "| sky | 3 | 0 | 0.500 | - | - | 2.5 | 0.250 |"


LEVELS = (0.25, 0.5, 0.75)


@settings(max_examples=30)
@given(st.lists(st.tuples(shapes(4, LEVELS), shapes(4, LEVELS)), min_size=1, max_size=2))
def test_every_froc_point_is_that_of_plain_loops(drawn):
    # Targets have different levels and are overlaid by some false alarms.
    pictures = [(paint(targets + others[:3]), paint(targets) > 0) for targets, others in drawn]
    thresholds = (*LEVELS, 0.9)
    for threshold, score in zip(thresholds, sweep(pictures, thresholds, StrictScore), strict=True):
        masks = [([[p >= threshold for p in row] for row in m.tolist()], t.tolist()) for m, t in pictures]
        assert_one_of(score.summary(), naive.strict(masks))
