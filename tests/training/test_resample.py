import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from training.metrics.legacy import shrink_label
from training.resample import lines, nearest_weights, resample, resample_masks, threshold_coverage

NO = torch.tensor([False])


@given(old=st.integers(1, 60), new=st.integers(1, 60), spare=st.integers(0, 5))
def test_lines_are_those_of_antialiased_interpolation(old, new, spare):
    line = torch.rand(1, 1, 1, old, dtype=torch.float32)
    expected = F.interpolate(line, (1, new), mode="bilinear", antialias=True)[0, 0, 0]
    weights = lines(torch.tensor([old]), torch.tensor([new]), old + spare, new + spare, NO)[0]
    found = weights @ F.pad(line[0, 0, 0], (0, spare), value=7.0)
    torch.testing.assert_close(found[:new], expected, rtol=1e-4, atol=1e-5)
    assert not found[new:].any()


def test_a_line_of_the_same_length_is_unchanged_or_reversed():
    same = torch.tensor([5, 5])
    forth, back = lines(same, same, 7, 5, torch.tensor([False, True]))
    assert torch.equal(forth[:, :5], torch.eye(5))
    assert torch.equal(back[:, :5], torch.eye(5).flip(0))


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_squares_are_mirrored_then_transposed(across, upside_down, transposed):
    square, size = torch.rand(1, 2, 6, 6), torch.tensor([6])
    rows, columns = (lines(size, size, 6, 6, torch.tensor([m])) for m in (upside_down, across))
    expected = square.flip([d for d, m in ((2, upside_down), (3, across)) if m])
    expected = expected.mT if transposed else expected
    torch.testing.assert_close(resample(square, rows, columns, torch.tensor([transposed])), expected)


def test_half_covered_pixels_are_target_and_no_target_vanishes():
    share = torch.tensor([[[1.0, 0.51], [0.5, 0.0]], [[0.2, 0.11], [0.1, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert threshold_coverage(share).tolist() == [[[True, True], [False, False]]] * 2 + [
        [[False, False], [False, False]]
    ]


@given(top=st.integers(0, 40), left=st.integers(0, 40), edge=st.integers(1, 4))
def test_a_small_target_survives_beside_a_large_one(top, left, edge):
    """A small target survives halving although its pixels are covered less than those of the large square."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 50:, 50:] = 1
    speck = torch.zeros_like(mask)
    speck[..., top : top + edge, left : left + edge] = 1
    old, new = torch.tensor([64]), torch.tensor([32])
    halve = lines(old, new, 64, 32, NO)
    both, alone = (threshold_coverage(resample(m, halve, halve, NO)[:, 0])[0, :24, :24] for m in (mask + speck, speck))
    assert alone.any()
    assert torch.equal(both, alone)


@given(height=st.integers(1, 400), width=st.integers(1, 400), seed=st.integers(0, 99))
def test_nearest_masks_are_those_of_the_legacy_protocol(height, width, seed):
    grey = (np.random.default_rng(seed).random((height, width)) < 0.3).astype(np.uint8) * 255
    side = torch.tensor([256])
    rows, columns = (nearest_weights(torch.tensor([edge]), side, edge, 256, NO) for edge in (height, width))
    found = resample(torch.from_numpy(grey / np.float32(255))[None, None], rows, columns, NO)[0, 0]
    assert np.array_equal(found.numpy(), shrink_label(grey))


def test_each_mask_is_resampled_by_its_own_rule_and_turned_with_its_picture():
    """The nearest rule picks the second of two pixels before mirroring, so the mirrored mask mirrors this choice."""
    mask = torch.zeros(4, 8, 8)
    mask[:, 3, 5] = 1  # odd, odd: sampled
    mask[:, 0, 0] = 1  # even, even: not sampled
    old, new = torch.full((4,), 8), torch.full((4,), 4)
    upside_down, across, transposed = (
        torch.tensor([False, False, *ends]) for ends in ((True, False), (False, False), (False, True))
    )
    rows, columns = (lines(old, new, 8, 4, mirrored) for mirrored in (upside_down, across))
    share = resample(mask[:, None], rows, columns, transposed)[:, 0]
    nearest = torch.tensor([False, True, True, True])
    found = resample_masks(share, mask, (old, old), (new, new), (upside_down, across), transposed, nearest)
    assert torch.equal(found[0], threshold_coverage(share)[0])
    assert found[0, 0, 0]
    assert [torch.nonzero(picked).tolist() for picked in found[1:]] == [[[1, 2]], [[2, 2]], [[2, 1]]]
