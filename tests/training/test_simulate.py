import numpy as np
import pytest
import torch

from training.config import DataConfig, SourceConfig
from training.data import Sample
from training.paste import SIDE
from training.placement import place
from training.pool import Pool
from training.simulate import CONTRAST, EDGE, SIGMA, simulate_targets, spots

CPU = torch.device("cpu")
MIDDLE = EDGE // 2


def spot(centre=(0.0, 0.0), sigma=(1.0, 1.0), sharpness=1.0):
    return spots(torch.tensor(centre)[:, None], torch.tensor(sigma)[:, None], torch.tensor([sharpness]))


def simulated(picture, probability=1.0, size=64, seed=0):
    pool = Pool([[Sample("p", picture, np.zeros(picture.shape, np.uint8), np.zeros(picture.shape, np.uint8))]], CPU)
    config = DataConfig(sources=[SourceConfig(folder="p", simulated=probability)], crop=64)
    rng = np.random.default_rng(seed)
    placement = place(pool, config, rng, size, 0)
    before = torch.from_numpy(picture[None, :64, :64] / np.float32(np.iinfo(picture.dtype).max)).repeat(size, 1, 1)
    return before, *simulate_targets(before, torch.zeros_like(before, dtype=torch.bool), pool, placement, config, rng)


def test_a_gaussian_spot_is_the_gaussian():
    shape = spot(sigma=(1.0, 2.0)).contrast[0]
    assert shape[MIDDLE, MIDDLE] == 1
    assert shape[MIDDLE + 2, MIDDLE].item() == pytest.approx(np.exp(-2))
    assert shape[MIDDLE, MIDDLE - 2].item() == pytest.approx(np.exp(-0.5))


def test_a_spot_between_pixels_lights_them_evenly():
    target = spot(centre=(0.5, 0.5), sigma=(0.5, 0.5))
    assert target.masks[0].nonzero().tolist() == [[MIDDLE + i, MIDDLE + j] for i in (0, 1) for j in (0, 1)]
    assert torch.equal(target.contrast[target.masks], torch.ones(4))


def test_a_sharp_spot_is_a_square():
    shape = spot(sigma=(2.0, 2.0), sharpness=4.0).contrast[0]
    assert shape[MIDDLE - 2 : MIDDLE + 3, MIDDLE - 2 : MIDDLE + 3].min() > 0.87
    assert shape[:, MIDDLE + 4].max() < 0.01


def test_the_largest_spots_end_within_their_square():
    target = spot(centre=(0.5, 0.5), sigma=(SIGMA[1],) * 2)
    assert target.contrast.shape == (1, SIDE, SIDE)
    assert target.contrast[0, EDGE - 1].max() < 1e-3
    assert not target.contrast[0, EDGE:].any()


def test_simulated_targets_have_the_drawn_contrast_and_are_in_the_mask():
    noise = 300.0
    picture = np.random.default_rng(1).normal(9000, noise, (64, 64)).astype(np.uint16)
    before, after, masks = simulated(picture)
    assert masks.any((1, 2)).all()
    peaks = ((after - before) * 65535 / noise).amax((1, 2))
    assert peaks.min() > 0.8 * CONTRAST[0]
    assert peaks.max() < 1.2 * CONTRAST[1]
    assert 10 < peaks.log().mean().exp() < 25  # log-uniform
    assert all((after - before)[k][masks[k]].min() >= 0.49 * peaks[k] * noise / 65535 for k in range(64))
    area = masks.sum((1, 2))
    assert area.min() <= 3
    assert area.max() >= 25


def test_on_a_uniform_picture_the_contrast_is_in_counts():
    before, after, masks = simulated(np.full((64, 64), 90, np.uint8))
    added = (after - before) * 255
    assert torch.equal(added.round(), added.round().clamp(0, CONTRAST[1]))
    assert torch.allclose(added, added.round(), atol=1e-4)  # whole counts, as a camera gives them
    assert (added.amax((1, 2)) >= CONTRAST[0] - 0.5).all()
    assert masks.any((1, 2)).all()


def test_sources_without_simulated_targets_get_none():
    before, after, masks = simulated(np.full((64, 64), 90, np.uint8), probability=0.0)
    assert after is before
    assert not masks.any()
