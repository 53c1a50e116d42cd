import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nets
from nets.layers.attention import SPATIAL_ATTENTIONS, ChannelAttention, ShapedSpatialAttention, SpatialAttention


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nets.build("mshnet").eval().requires_grad_(False)


@pytest.mark.parametrize(("channels", "parameters"), [(3, 4_065_513), (1, 4_065_481)])
def test_as_many_parameters_as_published(channels, parameters):
    network = nets.build("mshnet", in_channels=channels)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"spatial_attention": "gaussian"}, 4_065_513 - 16 * 97),  # one parameter instead of 98 in sixteen blocks
        ({"spatial_attention": "oriented_pinwheel"}, 4_065_513 - 16 * 97),
        ({"spatial_attention": "pinwheel"}, 4_065_513 - 16 * 96),
        # Replaces 3 * 16 + 16 by two PConv of k c1 c2 + 4 c2^2 weights and two parameters per normalised channel.
        ({"stem": "pconv"}, 4_065_513 - 64 + (4 * 3 * 16 + 3 * 16 * 16 + 2 * (4 * 16 * 16 + 2 * (16 + 16)))),
    ],
)
def test_options_change_the_parameter_count_as_expected(options, parameters):
    network = nets.build("mshnet", in_channels=3, **options)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_the_default_keeps_the_published_layers(network):
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["stem.weight"] == (16, 1, 1, 1)
    assert [shape for name, shape in shapes.items() if "spatial_attention" in name] == [(1, 2, 7, 7)] * 16


@pytest.mark.parametrize("options", [{"spatial_attention": name} for name in SPATIAL_ATTENTIONS] + [{"stem": "pconv"}])
def test_every_option_trains(options):
    torch.manual_seed(0)
    network = nets.build("mshnet", **options).train()
    logits, _ = network(torch.randn(2, 1, 33, 48))
    assert logits.shape == (2, 1, 33, 48)
    logits.square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    shaped = [p for name, p in network.named_parameters() if "sigma" in name or "theta" in name]
    assert all(p.grad.abs() > 0 for p in shaped)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (48, 64), (37, 32), (61, 95)])
def test_logits_have_the_size_of_the_picture(network, size):
    assert network(torch.randn(2, 1, *size)).shape == (2, 1, *size)


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1)])
def test_smaller_than_32_is_refused(network, size):
    with pytest.raises(ValueError, match=f"at least 32x32 pixels, got {size[1]}x{size[0]}"):
        network(torch.zeros(1, 1, *size))


def test_odd_sizes_are_padded_by_reflection_and_never_resampled(network):
    picture = torch.randn(1, 1, 37, 50)
    padded = F.pad(picture, (0, 14, 0, 11), mode="reflect")
    torch.testing.assert_close(network(picture), network(padded)[..., :37, :50], rtol=0, atol=0)


def test_training_mode_also_gives_one_head_per_scale():
    network = nets.build("mshnet").train()
    logits, heads = network(torch.randn(2, 1, 32, 64))
    assert logits.shape == (2, 1, 32, 64)
    assert [tuple(head.shape) for head in heads] == [(2, 1, 32 // s, 64 // s) for s in (1, 2, 4, 8)]


def test_every_parameter_gets_a_gradient():
    network = nets.build("mshnet").train()
    logits, _ = network(torch.randn(2, 1, 48, 48))
    logits.square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_channels_do_not_leak_between_pictures_of_a_batch(network):
    first, second = torch.randn(1, 1, 32, 48), torch.randn(1, 1, 32, 48)
    together = network(torch.cat([first, second]))
    torch.testing.assert_close(together, torch.cat([network(first), network(second)]), rtol=1e-4, atol=1e-5)


def test_channel_gate_by_hand():
    gate = ChannelAttention(16)  # a bottleneck of one unit
    with torch.no_grad():
        gate.squeeze.weight.fill_(0.5)
        gate.excite.weight.copy_(torch.arange(16.0).view(16, 1, 1, 1) / 16)
    features = torch.zeros(1, 16, 2, 2)
    features[0, 3, 0, 1] = 4.0  # mean 1, maximum 4: the bottleneck holds 0.5 and 2, together 2.5
    expected = torch.sigmoid(2.5 * torch.arange(16.0) / 16)
    torch.testing.assert_close(gate(features)[0, :, 0, 0], expected)


def test_spatial_gate_by_hand():
    gate = SpatialAttention()
    with torch.no_grad():
        gate.conv.weight.zero_()
        gate.conv.weight[0, 0, 3, 3] = 1.0  # the channel mean at the pixel
        gate.conv.weight[0, 1, 3, 4] = 2.0  # the channel maximum one pixel to the right
    features = torch.zeros(1, 2, 1, 3)
    features[0, :, 0, 0] = torch.tensor([1.0, 3.0])
    features[0, :, 0, 1] = torch.tensor([-1.0, 0.5])
    expected = torch.sigmoid(torch.tensor([2.0 + 2 * 0.5, -0.25, 0.0]))
    torch.testing.assert_close(gate(features)[0, 0, 0], expected)


def test_shaped_spatial_gate_by_hand():
    gate = ShapedSpatialAttention(nn.AvgPool2d((1, 3), stride=1, padding=(0, 1)))
    features = torch.zeros(1, 2, 1, 3)
    features[0, :, 0, 0] = torch.tensor([1.0, 3.0])  # mean 2, maximum 3
    features[0, :, 0, 1] = torch.tensor([-1.0, 0.5])  # mean -0.25, maximum 0.5
    expected = torch.sigmoid(torch.tensor([5.25, 5.25, 0.25]) / 3)
    torch.testing.assert_close(gate(features)[0, 0, 0], expected)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {}, "unknown architecture 'resnet'; known: mshnet"),
        ("mshnet", {"stem": "big"}, "MSHNet: unknown stem 'big'; known: conv1, pconv"),
        (
            "mshnet",
            {"spatial_attention": "square"},
            "MSHNet: unknown spatial_attention 'square'; known: conv7, gaussian, pinwheel, oriented_pinwheel",
        ),
        ("mshnet", {"depth": 3}, "architecture 'mshnet': .*unexpected keyword argument 'depth'"),
    ],
)
def test_wrong_builds_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        nets.build(name, **options)
