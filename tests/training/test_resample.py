import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from training.resample import covered, lines, resample

NO = torch.tensor([False])


@given(old=st.integers(1, 60), new=st.integers(1, 60), spare=st.integers(0, 5))
def test_lines_are_those_of_antialiased_interpolation(old, new, spare):
    line = torch.rand(1, 1, 1, old, dtype=torch.float32)
    expected = F.interpolate(line, (1, new), mode="bilinear", antialias=True)[0, 0, 0]
    weights = lines(torch.tensor([old]), torch.tensor([new]), old + spare, new + spare, NO)[0]
    found = weights @ F.pad(line[0, 0, 0], (0, spare), value=7.0)
    torch.testing.assert_close(found[:new], expected, rtol=1e-4, atol=1e-5)
    assert not found[new:].any()


def test_a_line_of_the_same_length_is_itself_and_can_run_backwards():
    same = torch.tensor([5, 5])
    forth, back = lines(same, same, 7, 5, torch.tensor([False, True]))
    assert torch.equal(forth[:, :5], torch.eye(5))
    assert torch.equal(back[:, :5], torch.eye(5).flip(0))


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("upside", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_squares_are_mirrored_then_transposed(across, upside, transposed):
    square, size = torch.rand(1, 2, 6, 6), torch.tensor([6])
    rows, columns = (lines(size, size, 6, 6, torch.tensor([m])) for m in (upside, across))
    expected = square.flip([d for d, m in ((2, upside), (3, across)) if m])
    expected = expected.mT if transposed else expected
    torch.testing.assert_close(resample(square, rows, columns, torch.tensor([transposed])), expected)


def test_a_pixel_is_target_if_more_than_half_of_it_is_but_no_target_vanishes():
    share = torch.tensor([[[1.0, 0.51], [0.5, 0.0]], [[0.2, 0.11], [0.1, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert covered(share).tolist() == [[[True, True], [False, False]]] * 2 + [[[False, False], [False, False]]]
