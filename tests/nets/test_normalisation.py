from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nets import normalisation
from nets.normalisation import FrameZScore, _box_means, _filtered, _pooled, change_picture, frame_statistics, normalise


def test_statistics_by_hand():
    mean, std = frame_statistics(np.array([[1, 2], [3, 6]], np.uint8))
    assert mean == 3.0
    assert std == pytest.approx((14 / 4) ** 0.5, rel=1e-15)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 40))
def test_statistics_are_exact(dtype, seed, width):
    picture = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (7, width), dtype)
    counts = [Fraction(int(v)) for v in picture.ravel()]
    mean = sum(counts) / len(counts)
    variance = sum((v - mean) ** 2 for v in counts) / len(counts)
    got_mean, got_std = frame_statistics(picture)
    assert got_mean == pytest.approx(float(mean), rel=1e-15)
    assert got_std == pytest.approx(float(variance) ** 0.5, rel=1e-14)


def test_statistics_do_not_depend_on_the_order_of_the_pixels():
    picture = np.random.default_rng(1).integers(0, 65536, (301, 257), np.uint16)
    shuffled = np.random.default_rng(2).permutation(picture.ravel()).reshape(257, 301)
    assert frame_statistics(picture) == frame_statistics(shuffled)


def test_statistics_resolve_one_count_in_a_bright_uniform_16_bit_frame():
    picture = np.full((480, 640), 65535, np.uint16)
    picture[0, 0] = 65534
    mean, std = frame_statistics(picture)
    pixels = picture.size
    assert mean == pytest.approx(65535 - 1 / pixels, abs=1e-11)
    assert std == pytest.approx((pixels - 1) ** 0.5 / pixels, rel=1e-12)


@pytest.mark.parametrize("picture", [np.zeros((0, 5), np.uint8), np.zeros((4, 4), np.float32), np.zeros((4, 4), int)])
def test_invalid_pictures_are_refused(picture):
    with pytest.raises(ValueError, match="non-empty uint8 or uint16"):
        frame_statistics(picture)


def test_min_std_limits_the_gain_of_uniform_frames():
    norm = FrameZScore(min_std=2.0)
    assert (norm.gain(0.0), norm.gain(1.9), norm.gain(4.0)) == (0.5, 0.5, 0.25)


def test_batch_by_hand():
    counts = torch.tensor([[[[10.0, 14.0]]], [[[1000.0, 9000.0]]]])
    z = normalise(counts, torch.tensor([12.0, 1000.0]), torch.tensor([0.5, 0.01]), FrameZScore(clip=10.0))
    assert z.tolist() == [[[[-1.0, 1.0]]], [[[0.0, 10.0]]]]


def test_16_and_8_bit_versions_of_a_scene_give_the_same_input():
    small = np.random.default_rng(3).integers(20, 200, (32, 32), np.uint8)
    norm = FrameZScore(windows=(9,))
    views = []
    for picture in (small, small.astype(np.uint16) * 256):
        mean, std = frame_statistics(picture)
        counts = torch.from_numpy(picture.astype(np.float32))[None, None]
        views.append(normalise(counts, torch.tensor([mean]), torch.tensor([norm.gain(std)]), norm))
    torch.testing.assert_close(views[0], views[1], rtol=1e-5, atol=1e-5)


def network_input(picture, norm):
    mean, std = frame_statistics(picture)
    counts = torch.from_numpy(picture.astype(np.float32))[None, None]
    return normalise(counts, torch.tensor([mean]), torch.tensor([norm.gain(std)]), norm)[0].numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_windows_see_the_z_score_of_the_square_around_each_pixel(dtype):
    picture = np.random.default_rng(5).integers(0, np.iinfo(dtype).max + 1, (20, 24), dtype)
    norm = FrameZScore(windows=(3, 9), min_std=1.0)
    seen = network_input(picture, norm)
    assert seen.shape == (norm.channels, 20, 24) == (3, 20, 24)
    counts = picture.astype(np.float64)
    for channel, half in ((1, 1), (2, 4)):
        for y, x in ((0, 0), (0, 13), (7, 9), (19, 23)):
            square = counts[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
            expected = (counts[y, x] - square.mean()) / max(square.std(), 1.0)
            assert seen[channel, y, x] == pytest.approx(expected, abs=1e-3)


def test_min_std_limits_local_z_scores_in_uniform_areas():
    picture = np.full((32, 32), 100, np.uint8)
    picture[:, 16:] = 200
    picture[8, 8] = 102
    seen = network_input(picture, FrameZScore(windows=(5,), min_std=4.0))
    # 24 pixels of 100 and one of 102: the standard deviation is far below four counts, so min_std is the divisor.
    assert seen[1, 8, 8] == pytest.approx((102 - (100 + 2 / 25)) / 4.0, abs=1e-3)
    assert seen[1, 20, 4] == pytest.approx(0.0, abs=1e-3)


def pictures(height, width, seed):
    """Two random pictures of integers, up to the largest magnitude of 16 bits in both signs."""
    levels = np.random.default_rng(seed).integers(-65535, 65536, (2, 1, height, width))
    return torch.from_numpy(levels.astype(np.float32))


@pytest.mark.parametrize("sums", [_filtered, _pooled])
@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.sampled_from([3, 17, 49]), seed=st.integers(0, 99))
def test_sums_over_squares_of_any_picture_are_exact_on_a_cpu_and_on_a_gpu(sums, height, width, side, seed):
    level, half = pictures(height, width, seed), side // 2
    whole, expected = level.long(), torch.empty(2, *level.shape, dtype=torch.long)
    for y in range(height):
        for x in range(width):
            part = whole[..., max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
            expected[0, ..., y, x] = part.sum(dim=(-2, -1))
            expected[1, ..., y, x] = part.square().sum(dim=(-2, -1))
    found = torch.stack(sums(level, side))
    assert found.dtype == torch.float64
    assert torch.equal(found.long(), expected)


def test_means_are_those_of_the_pixels_in_the_picture():
    level = torch.tensor([[[[1.0, 2.0, 6.0]]]])
    values, squares = _box_means(level, 3)
    assert values.tolist() == [[[[pytest.approx(1.5), pytest.approx(3.0), pytest.approx(4.0)]]]]
    assert squares.tolist() == [[[[pytest.approx(2.5), pytest.approx(41 / 3), pytest.approx(20.0)]]]]


def test_sky_beside_hot_ground_is_normalised_by_its_own_noise():
    # The noise variance is a millionth of the squares that it is computed from: single precision would lose it.
    picture = np.random.default_rng(6).integers(999, 1003, (64, 64)).astype(np.uint16)
    picture[40:] = 65000
    seen = network_input(picture, FrameZScore(windows=(17,), min_std=0.5))[1, :32]
    counts = picture.astype(np.float64)
    for y, x in ((8, 8), (20, 31), (31, 50)):
        square = counts[y - 8 : y + 9, x - 8 : x + 9]
        assert seen[y, x] == pytest.approx((counts[y, x] - square.mean()) / square.std(), abs=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gpu_and_cpu_sums_give_equal_network_input(monkeypatch, dtype):
    picture = np.random.default_rng(7).integers(0, np.iinfo(dtype).max + 1, (50, 70), dtype)
    norm = FrameZScore(windows=(17, 49))
    on_cpu = network_input(picture, norm)
    monkeypatch.setattr(normalisation, "_filtered", _pooled)
    assert np.array_equal(network_input(picture, norm), on_cpu)


@pytest.mark.parametrize("planes", [1, 2])
def test_batches_can_be_compiled_as_one_graph(planes):
    norm = FrameZScore(windows=(3, 9), change=True)
    batch = torch.from_numpy(np.random.default_rng(8).integers(0, 256, (2, planes, 20, 24)).astype(np.float32))
    facts = torch.tensor([100.0, 120.0]), torch.tensor([0.02, 0.05])
    compiled = torch.compile(normalise, backend="aot_eager", fullgraph=True, dynamic=False)
    assert torch.equal(compiled(batch, *facts, norm), normalise(batch, *facts, norm))


def test_change_is_the_last_channel_and_zero_if_unknown():
    norm = FrameZScore(windows=(3,), change=True)
    assert norm.channels == 3
    counts = torch.arange(12.0).view(1, 1, 3, 4)
    change = torch.tensor([[0.0, 12, 48, 255]]).expand(1, 1, 3, 4)
    facts = torch.tensor([5.5]), torch.tensor([0.5])
    with_change, without = normalise(torch.cat([counts, change], 1), *facts, norm), normalise(counts, *facts, norm)
    assert with_change[0, 2, 0].tolist() == [0, 0.25, 1, 5.3125]  # a quarter of the standard deviations
    assert not without[0, 2].any()
    single = normalise(counts, *facts, FrameZScore(windows=(3,)))
    assert torch.equal(with_change[:, :2], single)
    assert torch.equal(without[:, :2], single)


def test_a_change_picture_counts_twelfths_of_a_deviation_up_to_21():
    assert change_picture(np.array([[0.0, 0.5, 4.04, 21.2, 400.0]], np.float32)).tolist() == [[0, 6, 48, 254, 255]]
