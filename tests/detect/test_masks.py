from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import load
from pipeline.detect.masks import draw, outside_mask, polygons_of
from pipeline.errors import ConfigError
from pipeline.messages import DETECTION_DTYPE, EXCEEDING_DTYPE, Moving
from tests.detect.test_backend import noise
from tests.detect.test_stage import opened, prepared

SQUARE = [(2.0, 1.0), (5.0, 1.0), (5.0, 3.0), (2.0, 3.0)]


def detections(*places):
    found = np.zeros(len(places), DETECTION_DTYPE)
    found["x"], found["y"] = np.array(places, float).reshape(-1, 2).T
    return found


def test_a_polygon_covers_the_pixels_in_it_and_on_its_edge():
    mask = draw([SQUARE], (6, 8))
    assert mask.shape == (6, 8)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 3, 2, 5)
    assert mask.sum() == 12


def test_polygons_are_merged_and_clipped():
    mask = draw([SQUARE, [(6.0, 4.0), (20.0, 4.0), (20.0, 20.0), (6.0, 20.0)]], (6, 8))
    assert mask.sum() == 12 + 4
    assert mask[4:, 6:].all()
    assert not draw([], (6, 8)).any()


@given(st.floats(-0.49, 7.49), st.floats(-0.49, 5.49))
def test_only_detections_inside_mask_are_dropped(x, y):
    inside = 2 <= round(x) <= 5 and 1 <= round(y) <= 3
    assert outside_mask(detections((x, y)), draw([SQUARE], (6, 8))).tolist() == [not inside]


def test_a_detection_belongs_to_the_pixel_whose_centre_is_nearest():
    mask = draw([SQUARE], (6, 8))
    assert outside_mask(detections((1.6, 0.6), (5.4, 3.4)), mask).tolist() == [False, False]
    assert outside_mask(detections((1.4, 2), (5.6, 2), (3, 0.4), (3, 3.6)), mask).all()


def test_polygons_of_source_include_those_for_all():
    masks = {"*": [SQUARE], "a": [SQUARE[:3]]}
    assert polygons_of(masks, "a") == [SQUARE, SQUARE[:3]]
    assert polygons_of(masks, "b") == [SQUARE]
    assert polygons_of({"a": [SQUARE]}, "b") == []


def test_stage_applies_masks_per_source(weights):
    half = [(-1.0, -1.0), (32.0, -1.0), (32.0, 48.0), (-1.0, 48.0)]
    plain, masking = opened(weights), opened(weights, masks={"a": [half]})
    for source in ("a", "b"):
        packet = prepared(noise(48, 64), source)
        (before,), (after,) = plain.process([packet]), masking.process([packet])
        everything, kept = before.message.table(), after.message.table()
        expected = everything[np.round(everything["x"]) > 32] if source == "a" else everything
        assert len(expected) > 0
        np.testing.assert_array_equal(kept, expected)
    assert (everything["x"] < 32).any()


def test_masks_apply_before_detection_limit(weights):
    """The best three detections are chosen among the unmasked ones, for the network and for motion."""
    half = [(-1.0, -1.0), (32.0, -1.0), (32.0, 48.0), (-1.0, 48.0)]
    exceeding = np.zeros(40, EXCEEDING_DTYPE)
    exceeding["at"] = [64 * y + x for y in range(2, 42, 10) for x in range(2, 62, 6)]
    exceeding["over"], exceeding["significance"] = np.where(exceeding["at"] % 64 > 32, 0.5, 5.0), 9.0
    moving = Moving(
        change=bytes(48 * 64), exceeding=exceeding.tobytes(), mended=b"", sharp=np.ones(1, "<f4").tobytes(), weight=0.0
    )
    for seen in (None, moving):
        packet = prepared(noise(48, 64), moving=seen)
        everything, kept = (
            next(opened(weights, masks={"a": [half]}, max_detections=n).process([packet])).message.table()
            for n in (200, 3)
        )
        assert len(everything) > 3
        assert (np.round(everything["x"]) > 32).all()
        np.testing.assert_array_equal(kept, everything[:3])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{a: [[[0, 0], [1, 1]]]}", r"detect\.masks\.a\[0\]: .*length >= 3"),
        ("{a: [[[0, 0], [1, 1], [2]]]}", r"detect\.masks"),
        ("{a: [[[0, 0], [1, 1], [2, 1e9]]]}", r"detect\.masks"),
        ("[[0, 0]]", r"detect\.masks"),
    ],
)
def test_invalid_mask_error_names_its_path(value, said):
    with pytest.raises(ConfigError, match=said):
        load(None, [f"detect.masks={value}"])
