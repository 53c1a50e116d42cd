"""Boxes drawn around targets are found wherever they are, and what only looks like one is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.preprocess.boxes import MIN_CONTRAST, find_boxes
from pipeline.preprocess.lines import MIN_LENGTH_PX
from tests.conftest import real_data

SIZE = (120, 160)
SKY = np.random.default_rng(0).normal(100, 3, SIZE).round().astype(np.uint8)


def on_sky(mask, value=255):
    return np.where(mask, np.uint8(value), SKY)


def box(x=60, y=40, width=30, height=20, thickness=1):
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + height, x : x + width] = True
    mask[y + thickness : y + height - thickness, x + thickness : x + width - thickness] = False
    return mask


def brackets(arm=9):
    mask = box()
    mask[40 + arm : 60 - arm] = False
    mask[:, 60 + arm : 90 - arm] = False
    return mask


@given(
    st.integers(0, 100), st.integers(0, 80), st.integers(12, 50), st.integers(12, 35), st.integers(1, 2),
    st.sampled_from((0, 45, 155, 255)),
)  # fmt: skip
@settings(max_examples=50)
@example(0, 0, 12, 12, 2, 0)  # thick, at the edge of the picture
def test_boxes_of_any_place_size_and_value_are_found_to_the_pixel(x, y, width, height, thickness, value):
    mask = box(x, y, width, height, thickness)
    assert np.array_equal(find_boxes(on_sky(mask, value)), mask)


def test_a_box_is_found_with_one_side_hidden_and_with_a_target_that_touches_it():
    mask = box()
    open_box = mask.copy()
    open_box[59, 61:89] = False
    assert np.array_equal(find_boxes(on_sky(open_box)), open_box)
    target = SKY.copy()
    target[45:50, 58:66] = 230
    found = find_boxes(np.where(mask, np.uint8(255), target))
    assert not (found & ~mask).any()
    assert found.sum() > 0.8 * mask.sum()  # what the target touches stays


def test_the_corners_of_a_box_are_found_together_and_one_alone_is_not():
    mask = brackets()
    assert mask.sum() == 4 * 17
    assert np.array_equal(find_boxes(on_sky(mask)), mask)
    mask[50:] = mask[:, 75:] = False
    assert not find_boxes(on_sky(mask)).any()


def test_crosses_parallel_lines_filled_and_short_boxes_are_none():
    cross, parallel = np.zeros(SIZE, np.bool_), np.zeros(SIZE, np.bool_)
    cross[60, 50:90] = cross[40:80, 70] = True
    parallel[[50, 60], 40:90] = True
    filled = np.zeros(SIZE, np.bool_)
    filled[40:60, 60:90] = True
    for mask in (cross, parallel, filled, box(width=MIN_LENGTH_PX - 1, height=20), brackets(MIN_LENGTH_PX - 1)):
        assert not find_boxes(on_sky(mask)).any()
    assert not find_boxes(np.where(box(), np.uint8(100 + MIN_CONTRAST), np.uint8(100))).any()
    assert not find_boxes(SKY).any()


@pytest.mark.parametrize(
    "video", ["anti_uav410/20190925_200805_1_3", "drone_ir/IR_HELICOPTER_016", "drone_ir/IR_BIRD_014"]
)
def test_real_videos_have_no_boxes(video):
    capture = cv2.VideoCapture(str(real_data("video", f"{video}.mp4")))
    for _ in range(100):
        assert not find_boxes(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY)).any()
