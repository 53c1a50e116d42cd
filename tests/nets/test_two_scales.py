"""Two-scale inference: small targets from the full picture, large ones from the halved one."""

import numpy as np
import pytest
import torch
from torch import nn

import nets
from nets.export import INPUT, OUTPUT, to_onnx, to_openvino
from nets.fold import fold
from nets.layers.padding import pad
from nets.manifest import Input
from nets.normalisation import FrameZScore
from nets.two_scales import MIN_PICTURE_SIDE, TwoScales
from tests.nets.test_registry import SMALL, small_network

SMALL_SIZES = ((60, 80), (32, 33), (63, 32))
"""Picture sizes whose halves are smaller than networks accept."""


class Blobs(nn.Module):
    """Network that responds to bright squares of 4x4 pixels: the minimum over the square, minus 0.5."""

    def forward(self, picture):
        return -nn.functional.max_pool2d(-picture, 4, stride=1, padding=(2, 2))[..., :-1, :-1] - 0.5


def scene(side):
    """A picture of 64x80 px with a bright square whose upper left corner is at row 20, column 30."""
    picture = torch.zeros(1, 1, 64, 80)
    picture[..., 20 : 20 + side, 30 : 30 + side] = 1
    return picture


def test_a_large_target_is_found_in_the_halved_picture():
    class FourWide(Blobs):
        """Ignores targets wider than seven pixels, like a network trained on small crops."""

        def forward(self, picture):
            wide = nn.functional.avg_pool2d(picture, 9, stride=1, padding=4) > 0.9
            return torch.where(wide.any(), torch.full_like(picture, -0.5), super().forward(picture))

    small, large = scene(4), scene(12)
    assert (FourWide()(small) > 0).any()
    assert not (FourWide()(large) > 0).any()
    found = TwoScales(FourWide())(large)[0, 0] > 0
    rows, columns = np.nonzero(found.numpy())
    assert set(rows) <= set(range(20, 32)) and set(columns) <= set(range(30, 42))
    assert torch.equal(TwoScales(FourWide())(small), FourWide()(small))


@pytest.mark.parametrize(("height", "width"), [(70, 96), (60, 80), (33, 32), (32, 63)])
def test_the_halved_map_is_aligned_with_the_picture(height, width):
    """With an identity network, a ramp has the same value at every position in both maps."""
    ramp = torch.linspace(0, 1, width).expand(1, 1, height, width) + torch.linspace(0, 2, height)[:, None]
    logits = TwoScales(nn.Identity())(ramp)
    torch.testing.assert_close(logits[..., 1:-1, 1:-1], ramp[..., 1:-1, 1:-1])


@pytest.mark.parametrize("size", [(64, 64), (65, 99), (101, 64)])
def test_logits_are_the_maximum_of_both_scales(size):
    network = small_network("mshnet").eval().requires_grad_(False)
    picture = torch.randn(2, 1, *size)
    logits, whole = TwoScales(network)(picture), network(picture)
    assert logits.shape == whole.shape
    assert (logits >= whole).all()
    halved = network(nn.functional.avg_pool2d(pad(picture, 2, ""), 2))
    assert (logits > whole).any()
    assert logits.amax() <= max(whole.amax(), halved.amax()) + 1e-5


def test_small_halved_pictures_are_padded_to_the_minimum_size():
    class Seen(nn.Identity):
        def forward(self, picture):
            sizes.append(tuple(picture.shape[-2:]))
            return picture

    for side in range(MIN_PICTURE_SIDE, 3 * MIN_PICTURE_SIDE):
        sizes = []
        TwoScales(Seen())(torch.zeros(1, 1, side, 200))
        assert sizes == [(side, 200), (max((side + 1) // 2, MIN_PICTURE_SIDE), 100)]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_network_runs_at_two_scales_and_folds(name):
    network = TwoScales(small_network(name)).eval().requires_grad_(False)
    picture = torch.randn(1, 1, 66, 71)
    expected = network(picture)
    torch.testing.assert_close(fold(network)(picture), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_exports_to_onnx():
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    network = fold(TwoScales(small_network("mshnet")))
    session = onnxruntime.InferenceSession(to_onnx(network, 1), providers=["CPUExecutionProvider"])
    for size in ((64, 64), (97, 70), (80, 128), *SMALL_SIZES):
        picture = torch.randn(1, 1, *size)
        (logits,) = session.run([OUTPUT], {INPUT: picture.numpy()})
        np.testing.assert_allclose(logits, network(picture).numpy(), rtol=1e-3, atol=1e-4)


def test_exports_to_openvino():
    openvino = pytest.importorskip("openvino")
    network = fold(TwoScales(small_network("mshnet")))
    compiled = openvino.compile_model(to_openvino(network, 1), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for size in ((64, 64), (97, 70), *SMALL_SIZES):
        picture = torch.randn(1, 1, *size)
        (logits,) = compiled(picture.numpy()).values()
        np.testing.assert_allclose(logits, network(picture).numpy(), rtol=1e-3, atol=1e-3)


def test_the_manifest_selects_the_number_of_scales():
    network, norm = nn.Identity(), FrameZScore(windows=(17, 49))
    assert nets.deployed(network, Input(channels=3, normalisation=norm)) is network
    seen = nets.deployed(network, Input(channels=3, normalisation=norm, scales=2))
    assert isinstance(seen, TwoScales) and seen.network is network and not seen.training
