import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.data import Sample
from training.pool import Pool


def sample(picture, mask=None, ignored=None):
    none = np.zeros(picture.shape, np.uint8)
    return Sample("p", picture, none if mask is None else mask, none if ignored is None else ignored)


def pool(*sources):
    return Pool(sources, torch.device("cpu"))


def test_pictures_of_all_sets_are_concatenated_with_their_targets():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((5, 7), (9, 4), (6, 6))]
    masks = [np.zeros(picture.shape, np.uint8) for picture in pictures]
    masks[0][0, 1], masks[0][1, 2] = 1, 1  # diagonal neighbours are one target
    masks[2][3:5, 0:3], masks[2][0, 5] = 1, 1
    held = pool([sample(pictures[0], masks[0]), sample(pictures[1], masks[1])], [sample(pictures[2], masks[2])])
    assert held.first.tolist() == [0, 2]
    assert held.count.tolist() == [2, 1]
    assert (held.height.tolist(), held.width.tolist()) == ([5, 9, 6], [7, 4, 6])
    assert held.box_count.tolist() == [1, 0, 2]
    boxes = [held.boxes[start : start + n].tolist() for start, n in zip(held.first_box, held.box_count, strict=True)]
    assert boxes[0] == [[1, 0, 2, 2]]
    assert sorted(boxes[2]) == [[0, 3, 3, 2], [5, 0, 1, 1]]
    windows = held.windows(np.array([2, 0]), np.array([1, 2]), np.array([2, 0]), 4)
    assert np.rint(windows[:, 0].numpy() * 255).tolist() == [
        pictures[2][2:6, 1:5].tolist(),
        pictures[0][:4, 2:6].tolist(),
    ]
    assert windows[:, 1].tolist() == [masks[2][2:6, 1:5].tolist(), masks[0][:4, 2:6].tolist()]
    assert not windows[:, 2].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_count_of_a_bit_depth_is_kept(dtype):
    picture = np.arange(256 * 256).reshape(256, 256).astype(dtype)
    windows = pool([sample(picture)]).windows(np.array([0]), np.array([0]), np.array([0]), 256)
    assert np.array_equal(np.rint(windows[0, 0].double().numpy() * np.iinfo(dtype).max), picture)


def test_labels_distinguish_target_ignored_and_background():
    mask, ignored = np.array([[1, 1, 0, 0]], np.uint8), np.array([[0, 1, 1, 0]], np.uint8)
    picture = np.zeros((1, 4), np.uint8)
    windows = pool([sample(np.vstack([picture] * 4), np.vstack([mask] * 4), np.vstack([ignored] * 4))]).windows(
        np.array([0]), np.array([0]), np.array([0]), 4
    )
    assert windows[0, 1, 0].tolist() == [1, 1, 0, 0]
    assert windows[0, 2, 0].tolist() == [0, 0, 1, 0]


@given(
    left=st.integers(-200, 200), top=st.integers(-200, 200), side=st.integers(1, 60),
    height=st.integers(2, 70), width=st.integers(2, 70),
)  # fmt: skip
def test_a_square_that_leaves_the_frame_is_filled_by_reflection(left, top, side, height, width):
    picture = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    window = pool([sample(picture)]).windows(np.array([0]), np.array([left]), np.array([top]), side)[0, 0]
    filled = np.pad(picture, 300, mode="reflect")[300 + top : 300 + top + side, 300 + left : 300 + left + side]
    assert np.array_equal(np.rint(window.numpy() * 255), filled)


@pytest.mark.parametrize("exponent", [1.0, 0.6, 1.7])
def test_statistics_are_those_of_the_whole_picture_under_a_curve(exponent):
    rng = np.random.default_rng(1)
    pictures = [
        rng.integers(0, top, (20, 30)).astype(dtype)
        for top, dtype in ((255, np.uint8), (65_000, np.uint16), (9, np.uint8))
    ]
    mean, std = pool([sample(picture) for picture in pictures]).statistics(np.array([1, 2, 0]), np.full(3, exponent))
    for k, index in enumerate((1, 2, 0)):
        curve = (pictures[index] / np.iinfo(pictures[index].dtype).max) ** exponent
        assert mean[k].item() == pytest.approx(curve.mean(), rel=1e-5)
        assert std[k].item() == pytest.approx(curve.std(), rel=1e-4)


def test_windows_contain_change_pictures_and_spots_are_the_largest_changes():
    picture = np.full((40, 60), 9, np.uint8)
    change, mask, ignored = (np.zeros(picture.shape, np.uint8) for _ in range(3))
    for k in range(10):  # more peaks than are kept, in ascending order
        change[5 + 10 * (k // 5), 5 + 12 * (k % 5)] = 100 + k
    change[30, 30], mask[30, 31] = 250, 1  # a change of the target itself
    change[30, 50], ignored[31, 50] = 251, 1
    still = Sample("q", picture, mask, ignored)
    held = pool([still], [Sample("p", picture, mask, ignored, change)])
    assert held.changes
    assert held.spot_count.tolist() == [0, 8]
    places = held.spots[held.first_spot[1] :]
    assert [int(change[y, x]) for x, y, _, _ in places] == list(range(109, 101, -1))
    windows = held.windows(np.array([0, 1]), np.array([20, 20]), np.array([0, 0]), 40)
    assert windows.shape == (2, 4, 40, 40)
    assert not windows[0, 3].any()
    assert windows[1, 3].tolist() == change[:40, 20:60].tolist()
    assert not pool([still]).changes
    assert pool([still]).windows(np.array([0]), np.array([0]), np.array([0]), 8).shape == (1, 3, 8, 8)
