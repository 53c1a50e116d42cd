"""Non-image lines at the border of a frame are distinguished from the border of a scene."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.capture.scene.spec import NAMES
from pipeline.detect.border_lines import MARGIN_PX, MAX_LINES, BorderLines, count_non_image_lines
from pipeline.messages import DETECTION_DTYPE

NONE = (0, 0, 0, 0)


def picture(kind, seed=0):
    """A smooth scene with a little noise, whose counts use about a tenth of the range."""
    y, x = np.mgrid[:120, :160]
    scene = np.sin(x / 17) + np.cos(y / 11) + (y > 80) * np.sin(x / 3)
    noise = np.random.default_rng(seed).normal(0, 0.05, scene.shape)
    return (np.iinfo(kind).max * (0.4 + 0.03 * (scene + noise))).astype(kind)


def with_telemetry(frame, lines, seed=0):
    """Replace the first lines of a frame by bright dots on black."""
    dots = np.random.default_rng(seed).random((lines, frame.shape[1])) < 0.1
    return np.concatenate([np.where(dots, np.iinfo(frame.dtype).max, 0).astype(frame.dtype), frame[lines:]])


def at(*points):
    table = np.zeros(len(points), DETECTION_DTYPE)
    table["x"], table["y"] = np.array(points, float).reshape(-1, 2).T
    return table


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("lines", range(1, MAX_LINES + 1))
def test_telemetry_is_found_on_every_side(kind, lines):
    frame = with_telemetry(picture(kind), lines)
    assert count_non_image_lines(frame) == (lines, 0, 0, 0)
    assert count_non_image_lines(frame[::-1]) == (0, lines, 0, 0)
    assert count_non_image_lines(frame.T) == (0, 0, lines, 0)
    assert count_non_image_lines(frame.T[:, ::-1]) == (0, 0, 0, lines)


@pytest.mark.parametrize("name", NAMES)
def test_rendered_scenes_have_no_non_image_lines(name):
    scene = Scene(SceneSpec(name=name, frames=60, seed=3, camera="pan+jitter"))
    assert {count_non_image_lines(scene.frame(k)) for k in range(0, 60, 6)} == {NONE}


@given(seed=st.integers(0, 2**32 - 1), level=st.integers(0, 255), noise=st.sampled_from([0.0, 0.3, 20.0]))
def test_flat_or_noisy_pictures_have_no_non_image_lines(seed, level, noise):
    frame = np.random.default_rng(seed).normal(level, noise, (64, 80)).clip(0, 255).astype(np.uint8)
    assert count_non_image_lines(frame) == NONE


def test_edge_along_border_is_no_non_image_line():
    frame = picture(np.uint8)
    frame[:3] += 60
    assert count_non_image_lines(frame) == NONE


def test_an_even_sky_along_the_border_is_no_non_image_line():
    """Its lines do not correlate, but they do not differ more than those of the scene either."""
    frame = picture(np.uint8)
    frame[: MAX_LINES + 1] = np.random.default_rng(0).normal(110, 1, (MAX_LINES + 1, 160)).round()
    assert count_non_image_lines(frame) == NONE


def test_small_pictures_are_not_searched():
    assert count_non_image_lines(with_telemetry(picture(np.uint8), 2)[:30]) == NONE


@pytest.mark.parametrize("lines", [1, MAX_LINES])
def test_margin_is_the_same_on_every_side(lines):
    frame = with_telemetry(picture(np.uint8), lines)
    inside, outside = lines + MARGIN_PX - 0.1, lines + MARGIN_PX
    across = frame.shape[0] - 1
    for turned, places in (
        (frame, at((30, inside), (30, outside))),
        (frame[::-1], at((30, across - inside), (30, across - outside))),
        (frame.T, at((inside, 30), (outside, 30))),
        (frame.T[:, ::-1], at((across - inside, 30), (across - outside, 30))),
    ):
        assert BorderLines(turned).away_from_lines(places[:1]).tolist() == [False]
        assert BorderLines(turned).away_from_lines(places[1:]).tolist() == [True]


def test_only_detections_near_non_image_lines_are_dropped():
    frame = with_telemetry(picture(np.uint8), 2)
    close, clear, below = (30, 1 + MARGIN_PX), (90, 2 + MARGIN_PX), (40, 119)
    assert BorderLines(frame).away_from_lines(at((20, 0), close, clear, below)).tolist() == [False, False, True, True]
    everywhere = at((20, 0), close, clear, below)
    assert BorderLines(picture(np.uint8)).away_from_lines(everywhere).all()
    assert len(BorderLines(frame).away_from_lines(at())) == 0
