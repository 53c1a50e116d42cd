import numpy as np
import pytest
import torch

from training.data import Sample
from training.paste import cut_out, paste
from training.pool import hold


def donor(contrast=60, size=3):
    rng = np.random.default_rng(0)
    picture, mask = rng.normal(80, 5, (64, 64)), np.zeros((64, 64), np.uint8)
    picture[20 : 20 + size, 30 : 30 + size] += contrast
    mask[20 : 20 + size, 30 : 30 + size] = 1
    return hold(Sample("d", np.clip(picture, 0, 255).astype(np.uint8), mask, np.zeros_like(mask)), torch.device("cpu"))


def field(noise=0.02):
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.normal(0.5, noise, (32, 32)).astype(np.float32)), torch.zeros(32, 32, dtype=torch.bool)


def test_a_cut_out_holds_the_target_in_deviations_of_its_surroundings():
    target = cut_out(donor(), np.random.default_rng(0))
    assert target.contrast.shape == target.mask.shape == (9, 9)
    assert target.mask.sum() == 9
    assert target.contrast[target.mask].mean().item() == pytest.approx(12, rel=0.2)
    assert target.contrast[0].abs().max() == 0  # faded out at the rim


def test_a_pasted_target_is_as_hard_to_see_as_before_and_the_mask_knows():
    picture, mask = field()
    after, truth = paste(picture, mask, cut_out(donor(), np.random.default_rng(0)), True, np.random.default_rng(2))
    assert truth.sum() == 9
    assert not mask.any()  # the arguments stay as they were
    added = (after - picture)[truth].mean() / 0.02
    assert 12 / 1.6 < added < 12 * 1.6
    assert (after != picture).sum() <= 7 * 7


def test_nothing_is_pasted_on_a_target():
    picture, mask = field()
    after, truth = paste(picture, ~mask, cut_out(donor(), np.random.default_rng(0)), True, np.random.default_rng(2))
    assert torch.equal(after, picture)
    assert truth.all()


@pytest.mark.parametrize("size", [40, 64])
def test_large_targets_are_not_pasted(size):
    source = donor(size=min(size, 34)) if size == 40 else hold(
        Sample("d", np.full((64, 64), 9, np.uint8), np.ones((64, 64), np.uint8), np.zeros((64, 64), np.uint8)),
        torch.device("cpu")
    )  # fmt: skip
    picture, mask = field()
    after, truth = paste(picture, mask, cut_out(source, np.random.default_rng(0)), True, np.random.default_rng(2))
    assert torch.equal(after, picture)
    assert not truth.any()
