import numpy as np
import pytest
import torch

from training.augment import augment_crops
from training.config import AugmentConfig
from training.data import Sample
from training.pool import Pool

NOTHING = {"gamma": 0.0, "blur": 0.0, "noise": 0.0, "jpeg": 0.0}


def frame(dtype=np.uint8, size=64, seed=0):
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    picture = (rng.uniform(0.2, 0.6, (size, size)) * top).astype(dtype)
    none = np.zeros((size, size), np.uint8)
    return Sample("p", picture, none, none)


def top(frame):
    return np.iinfo(frame.picture.dtype).max


def augmented(frames, seed=0, **settings):
    pictures = torch.stack([torch.from_numpy(f.picture.astype(np.float32)) / top(f) for f in frames])[:, None]
    pool, config = Pool([frames], torch.device("cpu")), AugmentConfig(**NOTHING | settings)
    return pictures.clone(), *augment_crops(pictures, pool, np.arange(len(frames)), config, np.random.default_rng(seed))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_without_augmentation_nothing_changes_and_the_statistics_are_the_frames(dtype):
    frames = [frame(dtype, seed=k) for k in range(3)]
    before, after, mean, std = augmented(frames)
    assert torch.allclose(before, after, atol=1e-6)
    for k, one in enumerate(frames):
        counts = one.picture.astype(np.float64) / top(one)
        assert mean[k].item() == pytest.approx(counts.mean(), rel=1e-4)
        assert std[k].item() == pytest.approx(counts.std(), rel=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_augmented_crops_stay_whole_counts_in_the_range_of_the_camera(dtype):
    everything = {"gamma": 1.0, "blur": 1.0, "noise": 1.0, "noise_std": 3.0, "jpeg": 1.0}
    frames = [frame(dtype, seed=k) for k in range(4)]
    _, after, _, _ = augmented(frames, **everything)
    counts = after.double() * top(frames[0])
    assert counts.min() >= 0
    assert counts.max() <= top(frames[0])
    assert (counts - counts.round()).abs().max() < 0.01


def test_the_statistics_follow_the_gamma_curve():
    """A crop as large as the frame has z-scores of mean 0 and standard deviation 1 after any gamma curve."""
    frames = [frame(np.uint16, seed=k) for k in range(4)]
    before, after, mean, std = augmented(frames, gamma=0.7)
    assert not torch.allclose(before, after, atol=0.01)
    z = (after - mean.view(-1, 1, 1, 1)) / std.view(-1, 1, 1, 1)
    assert z.mean(dim=(1, 2, 3)).abs().max() < 1e-3
    assert z.std(dim=(1, 2, 3)).tolist() == pytest.approx([1] * 4, abs=1e-3)


def test_noise_has_the_strength_asked_for():
    frames = [frame(np.uint16, size=256, seed=k) for k in range(40)]
    before, after, _, std = augmented(frames, noise=1.0, noise_std=0.5)
    strength = (after - before).std(dim=(1, 2, 3)) / std
    assert strength.max() < 0.51
    assert strength.min() < 0.1
    assert strength.mean().item() == pytest.approx(0.25, abs=0.08)


def test_blur_smooths_and_jpeg_leaves_16_bit_pictures_alone():
    before, after, _, _ = augmented([frame()], blur=1.0, blur_sigma=(1.0, 1.0))
    assert after.std() < 0.5 * before.std()
    before, after, _, _ = augmented([frame(np.uint8), frame(np.uint16)], jpeg=1.0, jpeg_quality=(30, 30))
    assert not torch.allclose(before[0], after[0], atol=0.01)
    assert torch.allclose(before[1], after[1], atol=1e-6)


def test_gain_and_offset_change_only_the_statistics():
    frames = [frame(seed=k) for k in range(30)]
    before, after, mean, std = augmented(frames, gain=0.3, offset=0.5)
    _, _, true_mean, true_std = augmented(frames)
    assert torch.allclose(before, after, atol=1e-6)
    ratio, shift = std / true_std, (mean - true_mean) / true_std
    assert np.exp(-0.3) <= ratio.min() < 0.85 < 1.15 < ratio.max() <= np.exp(0.3)
    assert -0.5 <= shift.min() < -0.2 < 0.2 < shift.max() <= 0.5
