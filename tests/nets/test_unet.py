import pytest
import torch
from torch.nn import functional as F

import nets
from nets.layers.double_conv import UpConv
from nets.unet import Concatenation, widths
from tests.nets.cost import count


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nets.build("unet", width=4).eval().requires_grad_(False)


def test_costs_what_a_u_net_of_width_32_costs():
    parameters, _, published = count("unet", in_channels=3)
    assert parameters == pytest.approx(8.637e6, rel=0.005)
    assert published == pytest.approx(16.53e9, rel=0.005)


def test_half_the_width_is_a_quarter_of_the_weights():
    whole, half = (count("unet", width=width)[0] for width in (32, 16))
    assert half == pytest.approx(whole / 4, rel=0.005)


def test_widths_double():
    assert widths(32) == [32, 64, 128, 256, 512]
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        widths(0)


def test_odd_sizes_are_padded_by_reflection_and_never_resampled(network):
    picture = torch.randn(1, 1, 37, 50)
    padded = F.pad(picture, (0, 14, 0, 11), mode="reflect")
    torch.testing.assert_close(network(picture), network(padded)[..., :37, :50], rtol=0, atol=0)


def test_the_join_keeps_the_skip_and_doubles_what_is_below():
    join = Concatenation(2).eval()
    with torch.no_grad():
        join.up[1][0].weight.zero_()
        join.up[1][0].weight[:, 0, 1, 1] = 2.0  # twice the first channel, at the pixel itself
    skip = torch.randn(1, 2, 2, 4)
    deep = torch.zeros(1, 4, 1, 2)
    deep[0, 0, 0] = torch.tensor([0.0, 3.0])
    joined = join(skip, deep).detach()
    torch.testing.assert_close(joined[:, :2], skip)
    # With aligned corners, four columns span the range between the two centres.
    expected = torch.tensor([0.0, 2.0, 4.0, 6.0]).expand(2, 2, 4) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(joined[0, 2:], expected)


def test_every_level_reaches_the_output(network):
    """A skip that is computed but not used would leave the logits unchanged."""
    picture = torch.randn(1, 1, 32, 32)
    before = network(picture)
    for encoder in network.encoders:
        hook = encoder.register_forward_hook(lambda _, __, out: torch.zeros_like(out))
        assert not torch.equal(network(picture), before)
        hook.remove()


def test_up_conv_doubles_the_size():
    assert UpConv(4, 2)(torch.randn(1, 4, 3, 5)).shape == (1, 2, 6, 10)
