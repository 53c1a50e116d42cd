from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.detect.components import RING_GUARD, RING_WIDTH, find, surroundings
from pipeline.messages import DETECTION_DTYPE

DEFAULTS = {"threshold": 0.5, "low_threshold": 0.5, "min_area": 1, "max_area": 1000, "max_detections": 100}


def detections(probability, picture=None, **options):
    probability = np.asarray(probability, np.float32)
    picture = np.full(probability.shape, 10, np.uint8) if picture is None else picture
    return find(probability, picture, **{**DEFAULTS, **options})


def empty(height=32, width=40):
    return np.zeros((height, width), np.float32)


def test_nothing_found():
    found = detections(empty())
    assert found.dtype == DETECTION_DTYPE
    assert len(found) == 0


def test_weighted_centroid_area_score_and_box_by_hand():
    probability = empty()
    probability[5, 7], probability[5, 8], probability[6, 8] = 0.5, 1.0, 0.5
    (found,) = detections(probability)
    assert found["x"] == (0.5 * 7 + 1.0 * 8 + 0.5 * 8) / 2
    assert found["y"] == (0.5 * 5 + 1.0 * 5 + 0.5 * 6) / 2
    assert found["area"] == 3
    assert found["score"] == 1.0
    assert [found[c] for c in ("bx", "by", "bw", "bh")] == [7, 5, 2, 2]


def test_diagonal_neighbours_are_one_component_and_a_gap_makes_two():
    probability = empty()
    probability[3, 3] = probability[4, 4] = probability[4, 6] = 0.9
    assert sorted(detections(probability)["area"]) == [1, 2]


@pytest.mark.parametrize(("column", "areas", "widths"), [(6, [3], [4]), (7, [3], [5]), (8, [1, 2], [1, 2])])
def test_spots_within_a_gap_are_one(column, areas, widths):
    probability = empty()
    probability[3, 3] = probability[4, 4] = probability[4, column] = 0.9
    found = detections(probability, gap=2)
    assert (sorted(found["area"]), sorted(found["bw"])) == (areas, widths)
    diagonal = empty()
    diagonal[3, 3] = diagonal[6, 6] = 0.9
    (found,) = detections(diagonal, gap=2)
    assert (found["x"], found["y"], found["area"]) == (4.5, 4.5, 2)


@pytest.mark.parametrize("corner", [(0, 0), (0, 39), (31, 0), (31, 39)])
def test_targets_in_the_corners_are_measured(corner):
    probability, picture = empty(), np.full((32, 40), 100, np.uint16)
    probability[corner], picture[corner] = 0.8, 110
    (found,) = detections(probability, picture)
    assert (found["y"], found["x"]) == corner
    assert found["snr"] == pytest.approx(10 / 0.5)  # sigma of a flat background is clipped to half a count


@pytest.mark.parametrize("place", [(0, 0), (0, 39), (31, 0), (31, 39), (15, 0), (15, 39), (0, 20), (31, 20)])
def test_background_at_the_border_is_that_of_this_side(place):
    near = np.random.default_rng(0).integers(1000, 2000, (32, 40)).astype(np.uint16)
    rows, columns = np.indices(near.shape)
    far = np.where(np.maximum(abs(rows - place[0]), abs(columns - place[1])) > RING_GUARD + RING_WIDTH, 60_000, near)
    probability = empty()
    probability[place] = 0.8
    assert detections(probability, far)["snr"] == detections(probability, near)["snr"]


def test_snr_of_a_known_checkerboard():
    # Half of the ring is 90 and half 110: the median is 100, all deviations are 10, and sigma is 14.826.
    rows, columns = np.indices((32, 40))
    picture = np.where((rows + columns) % 2, 90, 110).astype(np.uint16)
    probability = empty()
    probability[15, 20], picture[15, 20] = 0.8, 400
    median, sigma = surroundings(picture, probability > 0, detections(probability, picture))
    assert median[0] in (90, 100, 110)
    assert detections(probability, picture)["snr"][0] == pytest.approx((400 - median[0]) / sigma[0])


def test_dark_targets_have_a_negative_snr():
    picture = np.full((32, 40), 1000, np.uint16)
    probability = empty()
    probability[9, 9], picture[9, 9] = 0.8, 900
    assert detections(probability, picture)["snr"][0] == pytest.approx(-200)


def test_snr_agrees_with_the_full_ring():
    rng = np.random.default_rng(3)
    picture = rng.normal(5000, 40, (64, 64)).astype(np.uint16)
    probability = empty(64, 64)
    probability[30:33, 28:33] = 0.9
    picture[30:33, 28:33] = 5400
    found = detections(probability, picture)
    grown = [ndimage.binary_dilation(probability > 0, np.ones((3, 3)), iterations=n) for n in (2, 2 + RING_WIDTH)]
    ring = picture[grown[1] & ~grown[0]].astype(float)
    sigma = 1.4826 * np.median(np.abs(ring - np.median(ring)))
    assert RING_GUARD == 2
    assert found["snr"][0] == pytest.approx((5400 - np.median(ring)) / sigma, rel=0.15)


def test_a_bright_neighbour_does_not_count_as_background():
    dark = np.random.default_rng(0).integers(1000, 2000, (32, 40)).astype(np.uint16)
    probability = empty()
    probability[10, 10] = 0.9
    probability[6:15, 13:18] = 0.7
    bright = np.where(probability == np.float32(0.7), 60_000, dark)
    assert detections(probability, bright)["snr"][0] == detections(probability, dark)["snr"][0]


def test_surroundings_without_a_free_pixel_give_zero():
    (found,) = detections(np.full((32, 40), 0.9), max_area=10_000)
    assert found["area"] == 32 * 40
    assert found["snr"] == pytest.approx(10 / 0.5)


def test_area_limits_are_inclusive():
    probability = empty()
    for row, length in ((2, 1), (6, 2), (10, 3), (14, 4)):
        probability[row, 5 : 5 + length] = 0.9
    assert sorted(detections(probability, min_area=2, max_area=3)["area"]) == [2, 3]


def test_the_best_are_kept_and_ties_go_by_row_then_column():
    probability = empty()
    for (row, column), value in {(20, 5): 0.75, (4, 30): 0.75, (4, 8): 0.75, (12, 12): 0.5, (28, 1): 0.875}.items():
        probability[row, column] = value
    found = detections(probability, max_detections=4)
    assert [(d["score"], d["y"], d["x"]) for d in found] == [
        (0.875, 28, 1),
        (0.75, 4, 8),
        (0.75, 4, 30),
        (0.75, 20, 5),
    ]


def test_weak_components_do_not_change_strong_ones():
    probability = empty()
    probability[5, 5:8] = 0.4, 0.9, 0.4
    probability[5, 9] = 0.4
    probability[20, 20:23] = 0.3, 0.45, 0.3
    strong = detections(probability)
    both = detections(probability, low_threshold=0.25)
    assert both[:1].tolist() == strong.tolist()
    assert both["score"] == pytest.approx([0.9, 0.45, 0.4])
    assert both["area"].tolist() == [1, 3, 1]
    # Within the gap, the weak pixel belongs to the strong component, which does not change.
    assert detections(probability, low_threshold=0.25, gap=2)["area"].tolist() == [1, 3]


def test_strong_targets_within_one_weak_component_stay_separate():
    probability = empty()
    probability[10, 10:20] = 0.3
    probability[10, 11] = probability[10, 18] = 0.9
    found = detections(probability, low_threshold=0.25)
    assert found["x"].tolist() == [11, 18]
    assert found["area"].tolist() == [1, 1]


blobs = st.lists(
    st.tuples(st.integers(12, 19), st.integers(12, 27), st.floats(0.0625, 1, width=32)), min_size=1, max_size=12
)


@given(blobs, st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 2**16))
@settings(max_examples=50, deadline=None)
def test_detections_are_translation_equivariant(points, dy, dx, seed):
    picture = np.random.default_rng(seed).integers(0, 60_000, (32, 40)).astype(np.uint16)
    probability = empty()
    for row, column, value in points:
        probability[row, column] = value
    here = detections(probability, picture, low_threshold=0.25)
    shift = {"shift": (dy, dx), "axis": (0, 1)}
    there = detections(np.roll(probability, **shift), np.roll(picture, **shift), low_threshold=0.25)
    for column in ("score", "area", "bw", "bh", "snr"):
        assert np.array_equal(here[column], there[column])
    for column, step in (("x", dx), ("bx", dx), ("y", dy), ("by", dy)):
        assert there[column] == pytest.approx(here[column] + step, abs=1e-9)


@given(st.integers(0, 2**32), st.floats(0.005, 0.4), st.sampled_from([0, 2, 4]))
@settings(max_examples=60, deadline=None)
def test_agrees_with_scipy_on_noise(seed, share, gap):
    rng = np.random.default_rng(seed)
    probability = np.where(rng.random((24, 33)) < share, rng.uniform(0.5, 1, (24, 33)), 0).astype(np.float32)
    found = detections(probability, max_area=24 * 33, max_detections=1000, gap=gap)
    wider = ndimage.binary_dilation(probability > 0, np.ones((gap + 1, gap + 1)))
    label, count = ndimage.label(wider, np.ones((3, 3)))
    label[probability == 0] = 0
    assert len(found) == count
    everything = range(1, count + 1)
    centres = ndimage.center_of_mass(probability.astype(float), label, everything)
    expected = sorted(zip(ndimage.maximum(probability, label, everything), centres, strict=True), key=str)
    got = sorted(((d["score"], (d["y"], d["x"])) for d in found), key=str)
    assert [e[0] for e in sorted(expected)] == [g[0] for g in sorted(got)]
    assert np.allclose(sorted(e[1] for e in expected), sorted(g[1] for g in got))
    assert found["area"].sum() == (probability > 0).sum()
    assert np.isfinite(found["snr"]).all()


def test_the_ring_consists_of_four_rectangles_beyond_the_guard_which_count_alike():
    """Where counts are the distance from the box, their median is (4 + 5) / 2 and the median deviation from it 1."""
    y, x = np.mgrid[:40, :50]
    picture = np.maximum(np.maximum(18 - y, y - 20), np.maximum(20 - x, x - 24)).clip(0).astype(np.uint8)
    box = np.zeros(1, DETECTION_DTYPE)
    box["bx"], box["by"], box["bw"], box["bh"] = 20, 18, 5, 3
    (median,), (sigma,) = surroundings(picture, picture == 0, box)
    assert median == (RING_GUARD + 2 + RING_GUARD + 3) / 2
    assert sigma == pytest.approx(1.4826)
