"""Dead rows and columns are replaced from the first frame on, and lines of the scene are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.preprocess.burnt_in import MIN_CONTRAST, BurntInGraphics
from pipeline.preprocess.dead_lines import BORDER_PX, STANDING_OUT

SIZE = (120, 160)
SKY = np.random.default_rng(0).normal(100, 3, SIZE).round().astype(np.uint8)


def replaced(picture):
    """Return a picture without its dead lines and the mask (H, W) of what was replaced in it, seen alone."""
    graphics = BurntInGraphics()
    clean = graphics.replace(picture)
    mask = np.zeros(picture.shape, np.bool_)
    mask.flat[graphics.pixels] = True
    return clean, mask


@given(
    st.integers(BORDER_PX, SIZE[0] - BORDER_PX - 2),
    st.integers(BORDER_PX, SIZE[1] - BORDER_PX - 2),
    st.sampled_from(("row", "column", "both")),
    st.integers(1, 2),
    st.sampled_from((0, 60, 140, 255)),
)
@settings(max_examples=50)
def test_dead_lines_of_any_place_and_value_are_replaced_in_the_first_frame(y, x, which, width, value):
    dead = np.zeros(SIZE, np.bool_)
    if which != "column":
        dead[y : y + width] = True
    if which != "row":
        dead[:, x : x + width] = True
    clean, mask = replaced(np.where(dead, np.uint8(value), SKY))
    assert np.array_equal(mask, dead)
    assert np.abs(clean[dead].astype(int) - 100).max() <= 3  # means of at least 18 pixels with a deviation of 3
    assert np.array_equal(clean[~dead], SKY[~dead])


def test_a_dead_line_is_known_where_the_scene_is_as_bright():
    scene, dead = SKY.copy(), np.zeros(SIZE, np.bool_)
    dead[50] = True
    width = round((1 - STANDING_OUT) * SIZE[1])
    scene[:, : width - 4] = 255
    assert replaced(np.where(dead, np.uint8(255), scene))[1][50].all()
    scene[:, : width + 4] = 255
    assert not replaced(np.where(dead, np.uint8(255), scene))[1].any()


@pytest.mark.parametrize("lines", [np.s_[: BORDER_PX - 4], np.s_[-1:], np.s_[40:45], np.s_[40:], np.s_[60, :150]])
def test_borders_bars_horizons_and_wires_that_end_are_no_dead_lines(lines):
    picture = SKY.copy()
    picture[lines] = 255
    assert not replaced(picture)[1].any()
    assert not replaced(np.ascontiguousarray(picture.T))[1].any()


def test_wires_of_varying_brightness_and_faint_lines_are_no_dead_lines():
    wire = SKY.copy()
    wire[60] = np.linspace(140, 180, SIZE[1])
    faint = np.full(SIZE, 100, np.uint8)
    faint[60] += int(MIN_CONTRAST)
    assert not replaced(wire)[1].any()
    assert not replaced(faint)[1].any()
    faint[60] += 1
    assert replaced(faint)[1].sum() == SIZE[1]


def test_a_dead_line_stays_known_while_a_target_crosses_it():
    graphics = BurntInGraphics()
    for k in range(40):
        picture = SKY.copy()
        picture[40 + k // 2 : 43 + k // 2, 80:83] = 220
        picture[50] = 0
        clean = graphics.replace(picture)
        assert len(graphics.pixels) == SIZE[1]
        assert (clean[50] > 90).all()
