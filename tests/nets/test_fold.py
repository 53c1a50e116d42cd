import copy

import numpy as np
import pytest
import torch
from torch import nn

import nets
from nets.fold import fold
from nets.layers.gaussian import GaussianConv2d
from nets.layers.pconv import PConv
from nets.layers.pinwheel import OrientedPinwheelConv2d, PinwheelConv2d
from nets.layers.shaped import ShapedConv2d
from nets.registry import ARCHITECTURES

VARIANTS = [
    {},
    {"spatial_attention": "gaussian"},
    {"spatial_attention": "pinwheel"},
    {"spatial_attention": "oriented_pinwheel"},
    {"stem": "pconv"},
]


def randomise(network, seed=0):
    """Set random statistics, affine parameters, widths and angles, as if the network had been trained."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor, low, high):
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                uniform(module.running_mean, -0.5, 0.5)
                uniform(module.running_var, 0.5, 2.0)
                uniform(module.weight, 0.5, 1.5)
                uniform(module.bias, -0.5, 0.5)
            if isinstance(module, ShapedConv2d):
                uniform(module.raw_sigma, -1, 3)
            if isinstance(module, PinwheelConv2d):
                uniform(module.theta, 0, 3)
    return network.eval().requires_grad_(False)


def kinds(network):
    return {type(module) for module in network.modules()}


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def network(request):
    torch.manual_seed(0)
    return randomise(nets.build("mshnet", **request.param))


@pytest.mark.parametrize("size", [(32, 48), (37, 61)])
def test_a_folded_mshnet_gives_the_same_logits(network, size):
    picture = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(1))
    expected = network(picture)
    torch.testing.assert_close(fold(network)(picture), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - {"mshnet"}))
def test_every_architecture_folds(name):
    network = randomise(nets.build(name))
    picture = torch.randn(1, 1, 45, 61, generator=torch.Generator().manual_seed(1))
    expected, folded = network(picture), fold(network)
    assert nn.BatchNorm2d not in kinds(folded)
    torch.testing.assert_close(folded(picture), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_folding_leaves_only_plain_layers(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    left = kinds(fold(network))
    assert nn.BatchNorm2d not in left
    assert not any(issubclass(kind, ShapedConv2d) for kind in left)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# The tracing exporter is several times faster than dynamo, but warns that it is deprecated and that sizes are fixed.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning")
def test_a_folded_mshnet_exports_to_onnx(network, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    path, picture = tmp_path / "network.onnx", torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    folded = fold(network)
    torch.onnx.export(folded, (picture,), path, dynamo=False, input_names=["picture"], output_names=["logits"])
    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"picture": picture.numpy()})
    expected = folded(picture).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * expected.std())


@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("layer", [GaussianConv2d, PinwheelConv2d, OrientedPinwheelConv2d])
def test_shaped_layers_fold_at_any_depth(layer, contrast):
    features = torch.randn(2, 3, 13, 10)
    for network in (layer(3, 5, contrast=contrast), nn.Sequential(nn.ReLU(), layer(3, contrast=contrast))):
        folded = fold(randomise(network))
        assert not any(issubclass(kind, ShapedConv2d) for kind in kinds(folded))
        torch.testing.assert_close(folded(features), network(features))


@pytest.mark.parametrize("shared", [False, True])
def test_batch_norms_of_pconv_fold_with_shared_arms_too(shared):
    layer = randomise(PConv(3, 8, 3, shared))
    features = torch.randn(2, 3, 9, 12)
    folded = fold(layer)
    assert nn.BatchNorm2d not in kinds(folded)
    torch.testing.assert_close(folded(features), layer(features))


def test_a_plain_pinwheel_and_its_batch_norm_become_one_convolution():
    network = randomise(nn.Sequential(PinwheelConv2d(4), nn.BatchNorm2d(4)))
    folded = fold(network)
    assert [type(module) for module in folded] == [nn.Conv2d, nn.Identity]
    features = torch.randn(1, 4, 11, 11)
    torch.testing.assert_close(folded(features), network(features))


class Reused(nn.Module):
    """The convolution's output is also used without the batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2)

    def forward(self, features):
        out = self.conv(features)
        return self.norm(out) + out


class Twice(Reused):
    """The batch norm is called on two different inputs."""

    def forward(self, features):
        return self.norm(self.conv(features)) + self.norm(features[..., 1:-1, 1:-1])


class Before(Reused):
    """The batch norm comes first, declared last."""

    def forward(self, features):
        return self.conv(self.norm(features))


class Namesake(Reused):
    """The batch norm's input is an argument with the same name as the convolution."""

    def forward(self, conv):
        return self.conv(self.norm(conv))


class Branching(Reused):
    """Control flow on values, which cannot be traced."""

    def forward(self, features):
        out = self.conv(features)
        return self.norm(out) if out.sum() > 0 else -self.norm(out)


@pytest.mark.parametrize("kind", [Reused, Twice, Before, Namesake, Branching])
def test_batch_norms_that_cannot_be_absorbed_stay(kind):
    network = randomise(kind())
    features = torch.randn(2, 2, 9, 9)
    folded = fold(network)
    assert nn.BatchNorm2d in kinds(folded)
    torch.testing.assert_close(folded(features), network(features))


def test_fold_leaves_training_alone():
    network = nets.build("mshnet", spatial_attention="gaussian").train()
    state = copy.deepcopy(network.state_dict())
    folded = fold(network)
    assert network.training
    assert not folded.training
    assert not any(p.requires_grad for p in folded.parameters())
    assert all(p.requires_grad for p in network.parameters())
    assert network.state_dict().keys() == state.keys()
