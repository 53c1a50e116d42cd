"""Masks from boxes: the pixels of a target, and targets that are too ambiguous for a mask."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.capture.scene import Scene, SceneSpec
from tests.conftest import real_data
from tools.box_mask import changed_in_box, in_box, mask_in_box
from tools.video_labels import find_videos, read_labels

NAN = float("nan")


def blob(x=20.0, y=16.0, sigma=1.5, peak=60.0, level=80.0, slope=0.0, noise=1.0, seed=0):
    """A Gaussian spot on a linear gradient, 48 x 40."""
    rows, columns = np.indices((40, 48))
    spot = peak * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    rough = np.random.default_rng(seed).normal(0, noise, rows.shape)
    return np.clip(level + slope * columns + spot + rough, 0, 255).round().astype(np.uint8)


def test_the_mask_is_the_spot_down_to_half_its_height():
    mask = mask_in_box(blob(noise=0.0), (21.0, 15.0, 12.0, 10.0))
    # Half of a Gaussian's peak lies sqrt(2 ln 2) sigma = 1.77 px out: the centre and its eight neighbours.
    assert mask.sum() == 9
    assert mask[15:18, 19:22].all()


@given(x=st.floats(14, 30), y=st.floats(12, 26), slope=st.floats(-2, 2), dark=st.booleans(), seed=st.integers(0, 99))
def test_it_is_found_on_any_slope_in_either_polarity(x, y, slope, dark, seed):
    picture = blob(x, y, peak=-60 if dark else 60, level=128 - 24 * slope, slope=slope, seed=seed)
    mask = mask_in_box(picture, (x + 1, y - 1, 12.0, 10.0))
    assert mask is not None
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() - y) < 1
    assert abs(columns.mean() - x) < 1


@pytest.mark.parametrize(
    ("picture", "box"),
    [
        (blob(peak=0.0), (20.0, 16.0, 12.0, 10.0)),  # nothing there
        (blob(peak=15.0, noise=6.0), (20.0, 16.0, 12.0, 10.0)),  # below the noise
        (np.maximum(blob(16.0), blob(24.0, peak=50.0)), (20.0, 16.0, 14.0, 10.0)),  # two similar peaks
        (blob(sigma=9.0), (20.0, 16.0, 8.0, 8.0)),  # extends beyond the box
        (blob(sigma=5.0), (20.0, 16.0, 12.0, 12.0)),  # fills the box
        (blob(), (-30.0, 16.0, 8.0, 8.0)),  # outside the picture
    ],
)
def test_an_ambiguous_target_has_no_mask(picture, box):
    assert mask_in_box(picture, box) is None


def test_a_large_object_is_left_out():
    picture = np.full((100, 100), 60, np.uint8)
    cv2.ellipse(picture, (50, 50), (20, 14), 0, 0, 360, 200, -1)
    assert mask_in_box(picture, (50.0, 50.0, 46.0, 34.0)) is None
    small = np.full((100, 100), 60, np.uint8)
    cv2.ellipse(small, (50, 50), (10, 7), 0, 0, 360, 200, -1)
    assert (mask_in_box(small, (50.0, 50.0, 26.0, 18.0)) == (small == 200)).all()


def test_a_point_has_a_box_of_nine():
    assert in_box((40, 48), (20.0, 16.0, NAN, NAN), 0).sum() == 81
    assert mask_in_box(blob(sigma=1.0), (21.0, 17.0, NAN, NAN)) is not None


def test_masks_of_a_rendered_scene_lie_on_its_targets():
    scene = Scene(SceneSpec(name="sky", targets=4, snr=25.0, seed=3))
    frame = (scene.frame(60) >> 8).astype(np.uint8)
    lowest, highest = np.percentile(scene.frame(60), [1, 99.9])
    frame = np.clip((scene.frame(60) - lowest) / (highest - lowest) * 200, 0, 255).astype(np.uint8)
    found = 0
    for target in (t for t in scene.truth(60) if t.visible):
        mask = mask_in_box(frame, (target.x, target.y, target.w + 8, target.h + 8))
        if mask is not None:
            rows, columns = np.nonzero(mask)
            assert np.hypot(columns.mean() - target.x, rows.mean() - target.y) < 2
            found += 1
    assert found >= 2


def test_most_labelled_drones_have_a_mask():
    (video,) = find_videos(real_data("video/drone_ir"), ["IR_DRONE_058"])
    reader = cv2.VideoCapture(str(video.medium))
    labels, masks = read_labels(video.labels), []
    for k in range(40):
        picture = cv2.cvtColor(reader.read()[1], cv2.COLOR_BGR2GRAY)
        masks += [mask_in_box(picture, box) for box in labels.get(k, [])]
    areas = [mask.sum() for mask in masks if mask is not None]
    assert len(areas) >= 0.9 * len(masks) > 0
    assert 2 <= np.median(areas) <= 60


def test_what_has_changed_by_half_the_peak_is_the_target():
    change = np.full((40, 48), 12, np.uint8)  # one deviation
    change[14:17, 19:22] = [[40, 60, 20], [50, 100, 80], [10, 55, 30]]
    change[15, 26] = 200  # beside the box
    change[12, 20] = 70  # part of the same target if the box is that large
    mask = changed_in_box(change, (20.0, 15.0, NAN, NAN))
    spot = [[14, 20], [15, 19], [15, 20], [15, 21], [16, 20]]
    assert np.argwhere(mask).tolist() == spot
    mask = changed_in_box(change, (20.0, 15.0, 9.0, 9.0))
    assert np.argwhere(mask).tolist() == [[12, 20], [13, 20], *spot]
    assert changed_in_box(np.minimum(change, 41), (20.0, 15.0, 9.0, 9.0)) is None  # 3.4 deviations
