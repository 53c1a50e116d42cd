import numpy as np
import pytest
import torch

from training.data import Sample
from training.paste import SIDE, cut_outs, paste
from training.placement import Turns
from training.pool import Pool

YES = torch.tensor([True])
PLACES = torch.tensor([[0.3, 0.8]])
COUNT = torch.full((1, 1, 1), 1 / 255)


def donor(contrast=60, size=(3, 3), at=(20, 30), shape=(64, 64)):
    rng = np.random.default_rng(0)
    picture, mask = rng.normal(80, 5, shape), np.zeros(shape, np.uint8)
    (y, x), (h, w) = at, size
    picture[y : y + h, x : x + w] += contrast
    mask[y : y + h, x : x + w] = 1
    return Pool(
        [[Sample("d", np.clip(picture, 0, 255).astype(np.uint8), mask, np.zeros_like(mask))]], torch.device("cpu")
    )


def cut_out(pool, magnification=1.0, turns=(False, False, False), nearest=False):
    turned = Turns(*(np.array([turn]) for turn in turns))
    return cut_outs(pool, np.array([0]), pool.boxes[:1], np.array([magnification]), turned, np.array([nearest]))


def field(noise=0.02, side=48):
    rng = np.random.default_rng(1)
    picture = torch.from_numpy(rng.normal(0.5, noise, (1, side, side)).astype(np.float32))
    return picture, torch.zeros(1, side, side, dtype=torch.bool)


def test_a_cut_out_is_in_standard_deviations_of_the_surroundings():
    target = cut_out(donor())
    assert (target.height.item(), target.width.item()) == (9, 9)
    assert target.masks.sum() == 9
    assert target.contrast[target.masks].mean().item() == pytest.approx(12, rel=0.2)
    assert target.contrast[0, 0].abs().max() == 0  # faded out at the rim
    assert target.contrast[0, 9:].abs().max() == target.contrast[0, :, 9:].abs().max() == 0


def test_a_cut_out_ends_at_the_edge_of_its_frame():
    target = cut_out(donor(size=(2, 4), at=(0, 60)))
    assert target.masks[0].nonzero().tolist() == [[3 + i, 3 + j] for i in range(2) for j in range(4)]
    assert not target.contrast[0, :3].any()  # above the frame
    assert not target.contrast[0, :, 7:].any()  # to the right of it


@pytest.mark.parametrize(
    ("turns", "corner"), [((False,) * 3, (0, 0)), ((True, False, False), (0, 1)), ((False, True, False), (1, 0))]
)
def test_a_cut_out_is_mirrored_within_its_own_square(turns, corner):
    """An L of three pixels lacks one of four corners, which identifies the orientation."""
    pool = donor(size=(2, 2))
    mask = np.zeros((64, 64), np.uint8)
    mask[20:22, 30:32] = 1
    mask[20, 30] = 0
    rng = np.random.default_rng(3)
    picture = np.clip(rng.normal(80, 5, (64, 64)) + 60.0 * mask, 0, 255).astype(np.uint8)
    pool = Pool([[Sample("d", picture, mask, np.zeros_like(mask))]], torch.device("cpu"))
    target = cut_out(pool, turns=turns)
    square = target.masks[0, 3:5, 3:5]
    assert target.masks.sum() == square.sum() == 3
    assert not square[corner]


def test_a_transposed_target_swaps_height_and_width():
    target = cut_out(donor(size=(2, 5)), turns=(False, False, True))
    assert (target.height.item(), target.width.item()) == (11, 8)
    assert target.masks[0].nonzero().tolist() == [[3 + i, 3 + j] for i in range(5) for j in range(2)]


@pytest.mark.parametrize(("magnification", "area"), [(2 / 3, 16), (2.0, 144)])
def test_a_target_is_magnified_as_the_crop_is(magnification, area):
    target = cut_out(donor(size=(6, 6)), magnification)
    assert target.masks.sum() == area
    assert target.height.item() == round(12 * magnification)


def test_a_pasted_target_keeps_its_contrast_and_is_in_the_mask():
    picture, mask = field()
    after, truth = paste(picture, mask, cut_out(donor()), YES, torch.tensor([1.2]), PLACES, PLACES, COUNT)
    assert truth.sum() == 9
    assert not mask.any()  # the arguments stay as they were
    added = ((after - picture)[truth].mean() / 0.02).item()
    assert added == pytest.approx(1.2 * 12, rel=0.25)
    assert (after != picture).sum() <= 7 * 7
    place = int(0.3 * (48 - 9 + 1))
    assert truth[0].nonzero()[0].tolist() == [place + 3, place + 3]


def test_occupied_places_are_skipped():
    picture, mask = field()
    mask[0, 20, 20] = True  # in the window of the first candidate, [12, 21), but not of the second
    after, truth = paste(picture, mask, cut_out(donor()), YES, torch.ones(1), PLACES, PLACES, COUNT)
    place = int(0.8 * 40)
    assert truth[0].nonzero()[1].tolist() == [place + 3, place + 3]
    assert truth.sum() == 10
    assert torch.equal(after[0, :30], picture[0, :30])


def test_nothing_is_pasted_where_no_place_is_free_or_it_is_not_wanted():
    picture, mask = field()
    for full, wanted in ((~mask, YES), (mask, ~YES)):
        after, truth = paste(picture, full, cut_out(donor()), wanted, torch.ones(1), PLACES, PLACES, COUNT)
        assert torch.equal(after, picture)
        assert torch.equal(truth, full)


def test_a_target_without_surroundings_has_no_contrast():
    whole = np.ones((16, 16), np.uint8)
    pool = Pool([[Sample("d", whole * 9, whole, 0 * whole)]], torch.device("cpu"))
    assert not cut_out(pool).contrast.any()


def test_a_target_that_has_no_room_in_the_crop_is_left_out():
    picture, mask = field(side=10)
    after, truth = paste(picture, mask, cut_out(donor(size=(8, 8))), YES, torch.ones(1), PLACES, PLACES, COUNT)
    assert torch.equal(after, picture)
    assert not truth.any()
    assert SIDE >= 14


def test_the_mask_of_a_halved_target_follows_masks_by():
    """A target of 2x2 px from pixel 4 on straddles four pixels when halved; the sample of one of these lies in it."""
    pool = donor(size=(2, 2))
    assert cut_out(pool, 0.5).masks[0].nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert cut_out(pool, 0.5, nearest=True).masks[0].nonzero().tolist() == [[1, 1]]
