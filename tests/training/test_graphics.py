from __future__ import annotations

import numpy as np
import pytest
import torch

from nets.normalisation import FrameZScore
from training.config import AugmentConfig, DataConfig, SourceConfig
from training.crops import draw_batch
from training.data import Sample
from training.graphics import COVERED, NEAR_PX, SYMBOLS, burn_in, draw
from training.pool import Pool

ALWAYS, NEVER = AugmentConfig(graphics=1.0), AugmentConfig(graphics=0.0)


def plain(n=8, side=96, change=20.0):
    masks = torch.zeros(n, side, side, dtype=torch.bool)
    masks[:, 40:50, 40:50] = True
    return torch.full((n, side, side), 0.4), masks, torch.full((n, 1, side, side), change)


@pytest.mark.parametrize("top", [255.0, 65535.0])
def test_only_covered_pixels_show_graphics_in_whole_counts(top):
    pictures, masks, changes = plain()
    before, still = pictures.clone(), changes.clone()
    tops = torch.full((8,), top)
    pictures, changes, covered = burn_in(pictures, masks, changes, tops, ALWAYS, np.random.default_rng(0))
    assert covered.flatten(1).any(1).all()
    assert (pictures[covered] != before[covered]).all()
    assert (pictures[~covered] - before[~covered]).abs().max() <= COVERED
    torch.testing.assert_close(pictures * top, (pictures * top).round(), atol=1e-3, rtol=0)
    moved = (changes != still).flatten(1).any(1)
    assert moved.any()
    assert not moved.all()
    assert (changes >= still).all()


def test_without_probability_or_known_changes_nothing_is_drawn_there():
    pictures, masks, changes = plain(change=0.0)
    tops, rng = torch.full((8,), 255.0), np.random.default_rng(0)
    same, unchanged, covered = burn_in(pictures.clone(), masks, changes.clone(), tops, NEVER, rng)
    assert torch.equal(same, pictures)
    assert torch.equal(unchanged, changes)
    assert not covered.any()
    drawn, unchanged, covered = burn_in(pictures.clone(), masks, changes.clone(), tops, ALWAYS, rng)
    assert not torch.equal(drawn, pictures)
    assert torch.equal(unchanged, changes), "unknown changes stay unknown"
    no_change = changes[:, :0]
    assert burn_in(pictures.clone(), masks, no_change, tops, ALWAYS, rng)[1].shape == no_change.shape


@pytest.mark.parametrize("symbol", SYMBOLS, ids=lambda symbol: symbol.__name__)
def test_every_symbol_is_drawn_even_across_the_border(symbol):
    rng = np.random.default_rng(0)
    for x, y in ((48, 48), (0, 95), (-20, 10)):
        for size in (6, 40):
            stencil = np.zeros((96, 96), np.uint8)
            symbol(stencil, x, y, size, 1, rng)
            assert stencil.max() <= 1
            if (x, y) == (48, 48):
                assert 0 < stencil.mean() < 0.2


def test_half_of_the_graphics_are_drawn_beside_a_target():
    mask = np.zeros((400, 400), bool)
    mask[100, 300] = True
    rng = np.random.default_rng(0)
    near = [draw(mask, rng)[0][100 - NEAR_PX : 101 + NEAR_PX, 300 - NEAR_PX : 301 + NEAR_PX].any() for _ in range(200)]
    assert 0.5 < np.mean(near) < 0.85  # up to three graphics, few of the others come there by chance


def test_covered_parts_of_targets_are_ignored():
    """The picture is one target: each of its pixels is either taught or, under a graphic, ignored."""
    picture = np.full((96, 96), 100, np.uint8)
    pool = Pool([[Sample("a", picture, np.full_like(picture, 255), np.zeros_like(picture))]], torch.device("cpu"))
    flat = AugmentConfig(gamma=0.0, blur=0.0, noise=0.0, jpeg=0.0, graphics=1.0)
    config = DataConfig(sources=[SourceConfig(folder="set", scale=(1.0, 1.0))], crop=96, augment=flat)
    batch = draw_batch(pool, config, FrameZScore(min_std=100.0), np.random.default_rng(1), 4)
    shown = batch.pictures.abs() * 100  # counts by which a pixel differs from the scene
    assert (shown > 50).any()
    assert torch.equal(batch.ignored, batch.masks == 0)
    assert shown[batch.masks > 0].max() <= 155 * COVERED + 1
    assert batch.ignored.float().mean() < 0.2
