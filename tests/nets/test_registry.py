"""Properties that all architectures share."""

import pytest
import torch

import nets
from nets.registry import ARCHITECTURES
from tests.nets.cost import count

SMALL = {
    "mshnet": ("mshnet", {}),
    "edge_unet": ("edge_unet", {"widths": (4, 4, 8, 8)}),
    "edge_unet_fine": ("edge_unet", {"widths": (4, 4, 8, 8), "fine": 4}),
    "unet": ("unet", {"width": 4}),
    "gaussian_unet": ("gaussian_unet", {"width": 4}),
    "sgem_unet": ("sgem_unet", {"width": 4}),
    "sgem_unet_linear": ("sgem_unet", {"width": 4, "attention": "linear"}),
}


def small_network(name):
    """Build the small network with its gates set to 1: a gate that starts at zero would hide what it multiplies."""
    architecture, options = SMALL[name]
    torch.manual_seed(0)
    network = nets.build(architecture, **options)
    for key, parameter in network.named_parameters():
        if key.endswith("gamma"):
            torch.nn.init.ones_(parameter)
    return network


@pytest.fixture(scope="module", params=sorted(SMALL))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network(name):
    return small_network(name).eval().requires_grad_(False)


def test_every_architecture_is_tested():
    assert {architecture for architecture, _ in SMALL.values()} == set(ARCHITECTURES)


def test_mshnet_costs_what_is_published():
    parameters, convolutions, published = count("mshnet", in_channels=3)
    assert parameters == 4_065_513
    assert convolutions == pytest.approx(6.0015e9, abs=5e4)
    assert published == pytest.approx(6.112e9, abs=5e5)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (100, 75), (256, 256)])
def test_logits_have_the_size_of_the_picture(network, size):
    logits = network(torch.randn(1, 1, *size))
    assert logits.shape == (1, 1, *size)
    assert logits.isfinite().all()


def test_any_number_of_input_channels(name):
    architecture, options = SMALL[name]
    network = nets.build(architecture, in_channels=3, **options).eval().requires_grad_(False)
    assert network(torch.randn(1, 3, 32, 48)).shape == (1, 1, 32, 48)


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_smaller_than_32_is_refused(network, size):
    with pytest.raises(ValueError, match=f"at least 32x32 pixels, got {size[1]}x{size[0]}"):
        network(torch.zeros(1, 1, *size))


def test_training_mode_gives_logits_and_a_list_of_heads(name):
    logits, heads = small_network(name).train()(torch.randn(2, 1, 33, 47))
    assert logits.shape == (2, 1, 33, 47)
    strides = [48 // head.shape[-1] for head in heads]  # padded to 48x48
    assert strides == {"mshnet": [1, 2, 4, 8], "edge_unet": [4, 8]}.get(SMALL[name][0], [])


def test_a_picture_does_not_depend_on_its_batch(network):
    pictures = torch.randn(3, 1, 48, 40)
    together = network(pictures)
    alone = torch.cat([network(picture[None]) for picture in pictures])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_gradient_reaches_every_parameter(name):
    network = small_network(name).train()
    logits, heads = network(torch.randn(2, 1, 64, 48))
    sum((out * torch.randn_like(out)).mean() for out in (logits, *heads)).backward()
    silent = [
        k for k, p in network.named_parameters() if p.grad is None or not p.grad.any() or not p.grad.isfinite().all()
    ]
    assert silent == []


def test_an_unregistered_name_is_refused():
    with pytest.raises(
        ValueError, match="unknown architecture 'resnet'; known: mshnet, edge_unet, unet, gaussian_unet, sgem_unet"
    ):
        nets.build("resnet")


def test_an_unknown_option_is_refused(name):
    with pytest.raises(ValueError, match=rf"architecture '{SMALL[name][0]}': .*unexpected keyword argument 'depth'"):
        nets.build(SMALL[name][0], depth=3)
