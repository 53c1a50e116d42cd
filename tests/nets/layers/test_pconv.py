import pytest
import torch
from torch import nn

from nets.layers.pconv import PConv


def conv_weights(layer):
    return sum(m.weight.numel() for m in layer.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(("shared", "weights"), [(True, 1408), (False, 1792)])
def test_fewer_weights_than_a_3x3_convolution(shared, weights):
    # k c1 c2 / 2 + 4 c2^2 with shared arms, k c1 c2 + 4 c2^2 with separate ones; 9 c1 c2 = 2304 for a 3x3
    assert conv_weights(PConv(16, 16, 3, shared=shared)) == weights


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_keeps_the_size_of_the_picture(size, shared):
    assert PConv(3, 8, size, shared)(torch.zeros(2, 3, 9, 14)).shape == (2, 8, 9, 14)


def reach(size):
    """Gradient of the centre of the output with respect to every input pixel, with all weights positive."""
    layer = PConv(1, 4, size).eval()
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
    picture = torch.full((1, 1, 21, 21), 10.0, requires_grad=True)  # SiLU is linear there
    layer(picture)[0, :, 10, 10].sum().backward()
    return picture.grad[0, 0]


@pytest.mark.parametrize("size", [3, 4])
def test_reads_8k_plus_1_pixels_most_at_the_centre(size):
    weights = reach(size)
    assert int((weights > 0).sum()) == 8 * size + 1
    assert weights.argmax() == 10 * 21 + 10


def test_the_four_arms_are_quarter_turns_of_one_another():
    weights = reach(3)
    torch.testing.assert_close(torch.rot90(weights), weights)
    assert weights[10, 10 - 3] > 0  # the tip of the left arm
    assert weights[10, 10 - 4] == 0


@pytest.mark.parametrize("shared", [False, True])
def test_every_parameter_gets_a_gradient(shared):
    layer = PConv(2, 8, 3, shared)
    layer(torch.randn(2, 2, 8, 8)).square().sum().backward()
    assert [name for name, p in layer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_output_channels_not_divisible_by_four_are_refused():
    with pytest.raises(ValueError, match="PConv needs a multiple of 4 output channels, got 6"):
        PConv(3, 6)
