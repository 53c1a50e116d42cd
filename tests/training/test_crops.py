import numpy as np
import pytest
import torch

from nets.normalisation import FrameZScore, frame_statistics
from tests.training.synthetic import write_set
from training.config import AugmentConfig, DataConfig, SourceConfig
from training.crops import draw_batch, draw_crop
from training.data import read_sample

PLAIN = AugmentConfig(gamma=0.0, blur=0.0, noise=0.0, jpeg=0.0)
SOURCES = [SourceConfig(folder="tiny")]


@pytest.fixture(scope="module", params=[np.uint8, np.uint16], ids=["8bit", "16bit"])
def samples(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "tiny"
    return [read_sample(folder, name) for name in write_set(folder, pictures=4, dtype=request.param)]


def config(**changes):
    return DataConfig(**({"sources": SOURCES, "crop": 32, "batch": 3, "augment": PLAIN} | changes))


def views(plane):
    """The eight rotations and mirror images."""
    return [np.rot90(p, k) for p in (plane, plane[:, ::-1]) for k in range(4)]


def test_an_undisturbed_crop_is_a_piece_of_the_picture_with_its_mask(samples):
    rng = np.random.default_rng(0)
    sample = samples[0]
    crop, mask, mean, std = draw_crop(sample, config(), (1.0, 1.0), rng)
    assert (mean, std) == pytest.approx(frame_statistics(sample.picture))
    pieces = [
        (picture, truth)
        for top in range(33)
        for left in range(33)
        for picture, truth in zip(
            views(sample.picture[top : top + 32, left : left + 32]),
            views(sample.mask[top : top + 32, left : left + 32]),
            strict=True,
        )
    ]
    assert any(np.array_equal(crop, picture) and np.array_equal(mask, truth) for picture, truth in pieces)


def test_a_crop_asked_to_hold_a_target_does(samples):
    rng = np.random.default_rng(1)
    assert all(draw_crop(samples[1], config(on_target=1.0), (1.0, 1.0), rng)[1].any() for _ in range(50))


@pytest.mark.parametrize("scale", [0.5, 0.7, 2.0])
def test_targets_survive_any_magnification(samples, scale):
    rng = np.random.default_rng(2)
    for _ in range(20):
        crop, mask, mean, std = draw_crop(samples[2], config(on_target=1.0), (scale, scale), rng)
        assert crop.shape == mask.shape == (32, 32)
        assert crop[mask > 0].mean() > mean + std  # the bright squares are still where the mask says


def test_disturbed_crops_stay_in_the_range_of_the_camera(samples):
    augment = AugmentConfig(gamma=1.0, blur=1.0, noise=1.0, noise_std=3.0, jpeg=1.0)
    rng = np.random.default_rng(3)
    for _ in range(20):
        crop, mask, _, _ = draw_crop(samples[3], config(augment=augment), (0.5, 1.5), rng)
        assert crop.dtype == mask.dtype == np.float32
        assert crop.min() >= 0
        assert crop.max() <= np.iinfo(samples[3].picture.dtype).max
        np.testing.assert_array_equal(crop, np.rint(crop))
        assert set(np.unique(mask)) <= {0.0, 1.0}


def test_the_frame_statistics_follow_the_response_curve(samples):
    """A curve moves the whole frame, so the z-scores of a crop as large as the frame have mean 0 and spread 1."""
    augment = AugmentConfig(gamma=0.7, blur=0.0, noise=0.0, jpeg=0.0)
    crop, _, mean, std = draw_crop(samples[0], config(crop=64, augment=augment), (1.0, 1.0), np.random.default_rng(4))
    assert (mean, std) != pytest.approx(frame_statistics(samples[0].picture), rel=1e-3)
    z = (crop - mean) / std
    assert (z.mean(), z.std()) == pytest.approx((0.0, 1.0), abs=0.05)  # counts are rounded


def test_a_frame_smaller_than_the_crop_is_filled_by_reflection(samples):
    crop, _, _, _ = draw_crop(samples[0], config(crop=96), (1.0, 1.0), np.random.default_rng(5))
    filled = np.pad(samples[0].picture, (0, 32), mode="reflect")
    assert any(np.array_equal(crop, view) for view in views(filled))


def test_a_batch_depends_on_its_generator_alone(samples):
    batches = [draw_batch([samples], config(), FrameZScore(), np.random.default_rng([7, 1])) for _ in range(2)]
    assert torch.equal(batches[0][0], batches[1][0])
    assert torch.equal(batches[0][1], batches[1][1])
    other = draw_batch([samples], config(), FrameZScore(), np.random.default_rng([7, 2]))
    assert not torch.equal(batches[0][0], other[0])


def test_a_batch_has_the_channels_of_the_normalisation(samples):
    pictures, masks = draw_batch([samples], config(), FrameZScore(windows=(9,)), np.random.default_rng(0))
    assert pictures.shape == (3, 2, 32, 32)
    assert masks.shape == (3, 1, 32, 32)
    assert pictures.abs().max() <= 10


def test_sets_are_drawn_by_their_weights(samples):
    empty = [read_only_background(sample) for sample in samples]
    sources = [SourceConfig(folder="a", weight=3.0), SourceConfig(folder="b", weight=1.0)]
    data = config(sources=sources, on_target=1.0, batch=400)
    _, masks = draw_batch([samples, empty], data, FrameZScore(), np.random.default_rng(6))
    share = masks.flatten(1).any(dim=1).float().mean().item()
    assert share == pytest.approx(0.75, abs=0.07)


def read_only_background(sample):
    return type(sample)(sample.name, sample.picture, sample.mask * 0, sample.histogram, sample.centroids[:0])
