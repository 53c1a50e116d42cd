import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nets
from tests.nets.cost import count


@pytest.fixture(scope="module", params=[0, 4], ids=["half", "fine"])
def network(request):
    torch.manual_seed(0)
    return nets.build("edge_unet", widths=(4, 4, 8, 8), fine=request.param).eval().requires_grad_(False)


def test_costs_an_eighth_of_mshnet():
    parameters, macs, _ = count("edge_unet", in_channels=3)
    assert parameters == pytest.approx(0.882e6, rel=0.005)
    assert macs == pytest.approx(0.722e9, rel=0.005)
    assert macs < count("mshnet", in_channels=3)[1] / 8


def test_full_resolution_layers_cost_half_as_much_again():
    parameters, macs, _ = count("edge_unet", in_channels=3, fine=16)
    assert parameters == pytest.approx(0.889e6, rel=0.005)
    assert macs == pytest.approx(1.068e9, rel=0.005)


def test_odd_sizes_are_padded_by_reflection_and_never_resampled(network):
    picture = torch.randn(1, 1, 37, 50)
    padded = F.pad(picture, (0, 14, 0, 11), mode="reflect")
    torch.testing.assert_close(network(picture), network(padded)[..., :37, :50], rtol=0, atol=0)


def test_every_level_reaches_the_output(network):
    picture = torch.randn(1, 1, 48, 48)
    before = network(picture)
    for encoder in network.encoders:
        hook = encoder.register_forward_hook(lambda _, __, out: torch.zeros_like(out))
        assert not torch.equal(network(picture), before)
        hook.remove()
    if network.fine:
        hook = network.fine.stem.register_forward_hook(lambda _, __, out: torch.zeros_like(out))
        assert not torch.equal(network(picture), before)
        hook.remove()


def test_pixel_positions_are_kept():
    """With a stem and head that only copy each pixel, the network returns the picture without any shift."""
    network = nets.build("edge_unet", widths=(4, 4, 4, 4)).eval().requires_grad_(False)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    conv, norm = network.stem[0], network.stem[1]
    for channel in range(4):
        conv.weight[channel, 0, 2 + channel // 2, 2 + channel % 2] = 1.0
        network.head.weight[channel, channel] = 1.0
    nn.init.ones_(norm.weight)
    picture = torch.rand(1, 1, 35, 46)
    torch.testing.assert_close(network(picture), picture / (1 + norm.eps) ** 0.5)


@pytest.mark.parametrize("option", ["widths", "blocks"])
@pytest.mark.parametrize("values", [(16, 32, 64), (16, 32, 64, 0)])
def test_invalid_widths_and_blocks_are_refused(option, values):
    with pytest.raises(ValueError, match=f"EdgeUNet: {option} must be 4 numbers of at least 1"):
        nets.build("edge_unet", **{option: values})


def test_negative_fine_is_refused():
    with pytest.raises(ValueError, match="EdgeUNet: fine must be at least 0, got -1"):
        nets.build("edge_unet", fine=-1)
