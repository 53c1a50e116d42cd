import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nets.layers.gaussian import GaussianConv2d, gaussian_kernel

sigmas = st.floats(0.3, 50)


@given(sigmas, st.sampled_from([3, 5, 7, 11]))
def test_sums_to_one_or_to_zero_with_contrast(sigma, size):
    sigma = torch.tensor([sigma, 1.0])
    torch.testing.assert_close(gaussian_kernel(sigma, size).sum((1, 2)), torch.ones(2))
    torch.testing.assert_close(gaussian_kernel(sigma, size, contrast=True).sum((1, 2)), torch.zeros(2))


def test_three_taps_by_hand():
    edge, corner = math.exp(-1 / 8), math.exp(-2 / 8)  # sigma 2: exp(-r^2 / 8)
    total = 1 + 4 * edge + 4 * corner
    expected = torch.tensor([[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]]) / total
    torch.testing.assert_close(gaussian_kernel(torch.tensor(2.0), 3), expected)


def test_narrow_is_the_identity_and_wide_is_the_box():
    identity = F.pad(torch.ones(1, 1), (3, 3, 3, 3))
    torch.testing.assert_close(gaussian_kernel(torch.tensor(1e-3), 7), identity)
    torch.testing.assert_close(gaussian_kernel(torch.tensor(1e4), 7), torch.full((7, 7), 1 / 49))


@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("sigma", [0.3001, 0.5, 1.5, 5.0])
def test_gradient_is_that_of_finite_differences(sigma, contrast):
    sigma = torch.tensor([sigma], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda s: gaussian_kernel(s, 7, contrast), sigma)


def test_starts_at_the_given_sigma_with_one_parameter_per_channel():
    layer = GaussianConv2d(5)
    assert sum(p.numel() for p in layer.parameters()) == 5
    torch.testing.assert_close(layer.sigma, torch.full((5,), 1.5))
    torch.testing.assert_close(GaussianConv2d(2, sigma=0.4).sigma, torch.full((2,), 0.4))


def test_sigma_stays_above_its_floor():
    layer = GaussianConv2d(1)
    with torch.no_grad():
        layer.raw_sigma.fill_(-1e6)
    assert layer.sigma.item() == pytest.approx(0.3)
    assert layer.weight.isfinite().all()


def test_every_channel_has_its_own_width():
    layer = GaussianConv2d(2)
    with torch.no_grad():
        layer.raw_sigma.copy_(torch.tensor([-9.0, 9.0]))
    point = torch.zeros(1, 2, 9, 9)
    point[..., 4, 4] = 1
    narrow, wide = layer(point)[0]
    assert narrow[4, 4] > 0.98
    assert wide[4, 4] < 0.03


@pytest.mark.parametrize("contrast", [False, True])
def test_equals_a_plain_depthwise_convolution(contrast):
    layer = GaussianConv2d(3, 5, contrast=contrast)
    plain = nn.Conv2d(3, 3, 5, padding=2, groups=3, bias=False)
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
    features = torch.randn(2, 3, 8, 11)
    torch.testing.assert_close(layer(features), plain(features))


def test_recovers_the_blur_of_a_target():
    torch.manual_seed(0)
    sharp = torch.randn(1, 1, 32, 32)
    blurred = F.conv2d(sharp, gaussian_kernel(torch.tensor(0.8), 7)[None, None], padding=3)
    layer = GaussianConv2d(1)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        (layer(sharp) - blurred).square().mean().backward()
        optimiser.step()
    assert layer.sigma.item() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 6}, "kernel size must be odd and at least 3, got 6"),
        ({"size": 1}, "kernel size must be odd and at least 3, got 1"),
        ({"sigma": 0.3}, "sigma must start above 0.3 pixels, got 0.3"),
    ],
)
def test_wrong_shapes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GaussianConv2d(1, **options)
