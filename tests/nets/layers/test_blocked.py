import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nets.layers.blocked import blocked_conv2d


@settings(max_examples=30)
@given(
    reach=st.integers(0, 4), channels=st.integers(1, 3), out=st.integers(1, 2),
    height=st.integers(1, 21), width=st.integers(1, 21),
)  # fmt: skip
def test_equals_the_convolution(reach, channels, out, height, width):
    torch.manual_seed(0)
    features = torch.randn(2, channels, height, width, dtype=torch.float64)
    weight = torch.randn(out, channels, 2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    bias = torch.randn(out, dtype=torch.float64)
    for added in (None, bias):
        expected = F.conv2d(features, weight, added, padding=reach)
        torch.testing.assert_close(blocked_conv2d(features, weight, added), expected)


def test_gradients_equal_those_of_the_convolution():
    torch.manual_seed(1)
    features = torch.randn(1, 2, 9, 14, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 2, 7, 7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(1, 1, 9, 14, dtype=torch.float64)
    found = torch.autograd.grad((blocked_conv2d(features, weight) * upstream).sum(), (features, weight))
    expected = torch.autograd.grad((F.conv2d(features, weight, padding=3) * upstream).sum(), (features, weight))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (1, 1, 3, 5), (1, 1, 11, 11)])
def test_other_kernels_are_refused(shape):
    with pytest.raises(ValueError, match=f"up to 9, got {shape[2]}x{shape[3]}"):
        blocked_conv2d(torch.zeros(1, 1, 8, 8), torch.zeros(shape))
