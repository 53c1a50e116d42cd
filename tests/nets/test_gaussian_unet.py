import pytest
import torch

import nets
from nets.gaussian_unet import AttendedDoubleConv
from nets.layers.attention import SPATIAL_ATTENTIONS
from nets.layers.gaussian import GaussianConv2d
from tests.nets.cost import count


def test_costs_a_quarter_of_the_plain_u_net():
    parameters, macs, _ = count("gaussian_unet")
    plain, plain_macs, _ = count("unet", width=16)
    assert parameters == pytest.approx(2.174e6, rel=0.005)
    assert macs == pytest.approx(plain_macs, rel=0.01)
    gates = sum(2 * channels * max(1, channels // 16) + 1 for channels in (16, 32, 64, 128, 256, 128, 64, 32, 16))
    assert parameters == plain + gates


def test_every_stage_has_a_gaussian_of_one_parameter():
    gaussians = [m for m in nets.build("gaussian_unet", width=2).modules() if isinstance(m, GaussianConv2d)]
    assert [sum(p.numel() for p in g.parameters()) for g in gaussians] == [1] * 9


def test_a_stage_gates_channels_then_pixels_before_its_last_relu():
    torch.manual_seed(0)
    block = AttendedDoubleConv(3, 16, SPATIAL_ATTENTIONS["gaussian"]).eval().requires_grad_(False)
    features = torch.randn(2, 3, 9, 11)
    out = block.norm(block.second(block.first(features)))
    mean, peak = out.mean((2, 3), keepdim=True), out.amax((2, 3), keepdim=True)
    squeeze, excite = block.channel_attention.squeeze, block.channel_attention.excite
    out = out * torch.sigmoid(excite(squeeze(mean).relu()) + excite(squeeze(peak).relu()))
    taps = torch.arange(-3.0, 4)
    window = torch.exp(-(taps[:, None] ** 2 + taps**2) / (2 * 1.5**2))
    seen = out.mean(1, keepdim=True) + out.amax(1, keepdim=True)
    gate = torch.nn.functional.conv2d(seen, (window / window.sum())[None, None], padding=3).sigmoid()
    torch.testing.assert_close(block(features), (out * gate).relu())


@pytest.mark.parametrize("name", sorted(SPATIAL_ATTENTIONS))
def test_any_spatial_attention_fits(name):
    network = nets.build("gaussian_unet", width=2, spatial_attention=name).eval().requires_grad_(False)
    assert network(torch.randn(1, 1, 33, 47)).isfinite().all()


def test_unknown_spatial_attention_is_refused():
    with pytest.raises(ValueError, match="GaussianUNet: unknown spatial_attention 'box'; known: conv7, gaussian"):
        nets.build("gaussian_unet", spatial_attention="box")
