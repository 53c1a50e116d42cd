import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.training import naive
from training.data import read_grey
from training.evaluate import LEGACY_THRESHOLD, PROTOCOLS
from training.metrics.legacy import EDGE, LegacyScore, shrink, shrink_label
from training.metrics.strict import StrictScore


def plane(*pixels, value=1.0):
    """A 256x256 label with ``value`` at the given (row, column) pixels."""
    label = np.zeros((EDGE, EDGE), np.float32)
    for row, column in pixels:
        label[row, column] = value
    return label


def block(row, column, height, width):
    return [(row + i, column + j) for i in range(height) for j in range(width)]


def score(predicted, label):
    """Return the figures of both protocols for one picture."""
    legacy, strict = LegacyScore(), StrictScore()
    legacy.update(predicted > 0, label)
    strict.update(predicted > 0, label > 0.5)
    return legacy.summary(), strict.summary()


def test_a_plain_case_agrees_with_the_strict_protocol():
    label = plane(*block(10, 10, 3, 3), *block(100, 50, 2, 2))
    predicted = plane(*block(10, 10, 3, 4), *block(200, 200, 1, 5))
    legacy, strict = score(predicted, label)
    assert {key: strict[key] for key in legacy} == legacy
    assert legacy["iou"] == pytest.approx(9 / (12 + 5 + 4))
    assert legacy["pd"] == 0.5
    assert legacy["fa"] == 5 / EDGE**2


def test_false_alarms_as_large_as_a_hit_vanish():
    hit = block(10, 10, 2, 2)
    others = [pixel for k in range(10) for pixel in block(50 + 10 * k, 100, 2, 2)]
    legacy, strict = score(plane(*hit, *others), plane(*hit))
    assert (legacy["fa"], legacy["false_alarms_per_picture"]) == (0, 0)
    assert (strict["fa"], strict["false_alarms_per_picture"]) == (40 / EDGE**2, 10)


def test_false_alarms_of_another_picture_do_not_vanish():
    legacy = LegacyScore()
    legacy.update(plane(*block(10, 10, 2, 2)) > 0, plane(*block(10, 10, 2, 2)))
    legacy.update(plane(*block(90, 10, 2, 2)) > 0, plane())
    assert legacy.summary()["fa"] == 4 / (2 * EDGE**2)


def test_a_target_takes_the_first_near_prediction_not_the_best():
    # The upper prediction is 2.2 px from both targets, the left one 2 px from the first target only.
    label, predicted = plane((10, 10), (10, 14)), plane((9, 12), (10, 8))
    legacy, strict = score(predicted, label)
    assert (legacy["pd"], strict["pd"]) == (0.5, 1.0)
    # The remaining prediction has the area of the hit, so it is not counted as a false alarm either.
    assert legacy["fa"] == 0


def test_exactly_three_pixels_is_too_far():
    assert score(plane((10, 13)), plane((10, 10)))[0]["pd"] == 0
    assert score(plane((12, 12)), plane((10, 10)))[0]["pd"] == 1


@pytest.mark.parametrize(("value", "union"), [(0.49, 1), (0.5, 2), (0.6, 2), (0.99, 2)])
def test_a_soft_pixel_can_be_missed_but_never_hit(value, union):
    label = plane((10, 10), value=value)
    legacy = LegacyScore()
    legacy.update(label > 0, label)
    assert (legacy.intersection, legacy.union) == (0, union)
    assert legacy.summary()["pd"] is None


def test_an_empty_picture_counts_as_zero_in_niou_only():
    legacy = LegacyScore()
    legacy.update(plane((5, 5)) > 0, plane((5, 5)))
    legacy.update(plane() > 0, plane())
    figures = legacy.summary()
    assert (figures["iou"], figures["niou"]) == (1.0, 0.5)


def test_nothing_scored_yet():
    figures = LegacyScore().summary()
    assert [figures[key] for key in ("iou", "niou", "pd", "fa", "false_alarms_per_picture")] == [None] * 5


def test_halving_a_mask_keeps_every_second_pixel_from_the_second_on():
    grey = np.zeros((512, 512), np.uint8)
    grey[0, 0] = grey[4, 5] = 255  # between the picked pixels
    grey[1, 1] = 255
    grey[7, 9] = 128
    label = shrink_label(grey)
    assert np.argwhere(label).tolist() == [[0, 0], [3, 4]]
    assert label[0, 0] == 1
    assert label[3, 4] == np.float32(128) / np.float32(255)


@pytest.mark.parametrize("size", [(256, 256), (128, 64), (300, 173), (1024, 700)])
def test_a_mask_takes_the_pixel_under_each_new_centre(size):
    grey = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    label = shrink_label(grey)
    for row, column in ((0, 0), (17, 200), (255, 255), (128, 3)):
        old = grey[int((row + 0.5) * size[0] / 256), int((column + 0.5) * size[1] / 256)]
        assert label[row, column] == np.float32(old) / np.float32(255)


def test_a_picture_is_filtered_by_a_triangle_as_wide_as_the_reduction():
    picture = np.zeros((512, 512), np.uint16)
    picture[10, 21] = 64000
    small = shrink(picture)
    assert small.dtype == np.uint16
    # Weights of old pixels 0.5 and 1.5 from a new centre: 3/8 and 1/8.
    expected = np.zeros((EDGE, EDGE))
    expected[4:6, 10:12] = 64000 * np.outer([1 / 8, 3 / 8], [3 / 8, 1 / 8])
    np.testing.assert_array_equal(small, expected)


def test_a_picture_is_rounded_after_its_rows_and_again_after_its_columns():
    picture = np.zeros((512, 512), np.uint8)
    picture[10:12, 20] = 4
    # 3/8 of 4 is 1.5, rounded to 2; two rows of 2 at 3/8 each give 1.5 again. Rounding once would turn 1.125 into 1.
    assert shrink(picture)[5, 10] == 2


@pytest.mark.parametrize("size", [(512, 512), (300, 173), (1024, 701), (97, 200)])
def test_pictures_are_bit_for_bit_those_of_published_code(tmp_path, size):
    path = tmp_path / "p.png"
    cv2.imwrite(str(path), np.random.default_rng(2).integers(0, 256, size, np.uint8))
    with Image.open(path) as picture:  # published code repeats the grey picture in three channels
        published = np.asarray(picture.convert("RGB").resize((EDGE, EDGE), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(shrink(read_grey(path))[..., None].repeat(3, axis=2), published)


def test_a_picture_of_the_right_size_stays_as_it_is():
    picture = np.random.default_rng(1).integers(0, 256, (EDGE, EDGE), np.uint8)
    np.testing.assert_array_equal(shrink(picture), picture)


def rectangles(values):
    """Up to five rectangles (row, column, height, width, value): small and spread out, or single pixels close by."""

    def some(place, side):
        return st.lists(st.tuples(place, place, side, side, st.sampled_from(values)), max_size=5)

    return some(st.integers(0, 30), st.integers(1, 3)) | some(st.integers(0, 8), st.just(1))


def paint(shapes, ground):
    grid = np.full((EDGE, EDGE), ground, np.float32)
    for row, column, height, width, value in shapes:
        grid[row : row + height, column : column + width] = value
    return grid


LOGITS, LABELS = [-2.0, -0.0, 0.0, 1e-5, 3.0], [1.0, 1.0, 1.0, 0.3, 0.5, 0.99]


@settings(max_examples=60)
@given(st.lists(st.tuples(rectangles(LOGITS), rectangles(LABELS)), min_size=1, max_size=2), st.randoms())
def test_figures_are_those_of_plain_loops_over_logits_and_grey_labels(drawn, random):
    pictures = []
    for predicted, label in drawn:
        # Places some predictions near a target, because random ones would never match.
        near = [(max(0, r + random.randint(-2, 2)), c + random.randint(0, 2), h, w, 3.0) for r, c, h, w, _ in label]
        pictures.append((paint(predicted + near, -5.0), paint(label, 0.0)))
    score, above = LegacyScore(), PROTOCOLS["legacy"][2]
    for logits, label in pictures:
        score.update(above(torch.sigmoid(torch.from_numpy(logits)).numpy(), LEGACY_THRESHOLD), label)
    expected = naive.legacy([(logits.tolist(), label.tolist()) for logits, label in pictures])
    figures = score.summary()
    assert figures.keys() == expected.keys()
    for key, value in expected.items():
        assert figures[key] == (None if value is None else pytest.approx(value, rel=1e-12)), key


def test_a_grey_target_is_part_of_the_union_but_no_target():
    # Half of the target is grey. Only the solid half counts for Pd; its centroid is one pixel from the prediction's.
    label = plane(*block(10, 10, 2, 2)) + plane(*block(10, 12, 2, 2), value=0.8)
    legacy, strict = score(plane(*block(10, 10, 2, 4)), label)
    assert (legacy["iou"], legacy["niou"]) == (4 / (8 + 8 - 4), 4 / 8)
    assert (legacy["targets"], legacy["pd"], legacy["fa"]) == (1, 1, 0)
    assert strict["iou"] == 1


def test_a_label_of_254_is_missed_and_its_detection_is_false():
    label = shrink_label(np.where(plane(*block(10, 10, 3, 3)) > 0, 254, 0).astype(np.uint8))
    legacy, strict = score(plane(*block(10, 10, 3, 3)), label)
    assert (legacy["iou"], legacy["pd"], legacy["targets"], legacy["fa"]) == (0, None, 0, 9 / EDGE**2)
    assert (strict["iou"], strict["pd"], strict["fa"]) == (1, 1, 0)


def test_a_prediction_is_taken_once():
    legacy, _ = score(plane((10, 11)), plane((10, 10), (10, 12)))
    assert (legacy["targets"], legacy["pd"]) == (2, 0.5)


def test_one_blob_over_two_targets_finds_neither():
    label, predicted = plane((10, 10), (10, 17)), plane(*block(10, 10, 1, 8))
    legacy, _ = score(predicted, label)
    assert (legacy["pd"], legacy["fa"]) == (0, 8 / EDGE**2)
