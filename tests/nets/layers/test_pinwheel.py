import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from nets.layers.pinwheel import (
    ANGLES,
    OrientedPinwheelConv2d,
    PinwheelConv2d,
    pinwheel_kernel,
    pinwheel_margin,
    pinwheel_mask,
)

STEP = math.pi / ANGLES
steps = torch.arange(ANGLES) * STEP


def bar(angle, width=1.0, length=4.0, size=21):
    """A bright bar with soft edges through the centre."""
    taps = torch.arange(size) - size // 2
    along = taps * math.cos(angle) + taps[:, None] * math.sin(angle)
    across = taps[:, None] * math.cos(angle) - taps * math.sin(angle)
    return torch.exp(-(across**2) / (2 * width**2)) * torch.sigmoid(2 * (length - along.abs()))


def axis_error(angle, other):
    return abs(math.remainder(angle - other, math.pi))


def test_mask_at_angle_zero():
    drawn = """
        .......
        .......
        ##.#...
        .#####.
        ...#.##
        .......
        .......
    """
    expected = torch.tensor([[float(c == "#") for c in line] for line in drawn.split()])
    assert torch.equal(pinwheel_mask(torch.tensor(0.0), 7), expected)


def test_eight_angles_are_eight_masks_none_the_mirror_of_another():
    masks = pinwheel_mask(steps, 7)
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == ANGLES
    assert not any(torch.equal(mask.flip(0), other) for mask in masks for other in masks)


@pytest.mark.parametrize("size", [5, 7, 9])
def test_a_quarter_turn_turns_the_mask(size):
    masks = pinwheel_mask(steps, size)
    turned = torch.rot90(masks, -1, (1, 2))  # from +x towards +y, y down
    assert torch.equal(turned, masks.roll(-ANGLES // 2, 0))


@given(st.floats(-10, 10))
def test_the_period_is_pi(angle):
    theta = torch.tensor([angle, angle + math.pi], dtype=torch.float64)
    first, second = pinwheel_margin(theta, 7)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-9)


@given(st.floats(0.3, 50), st.floats(-10, 10))
def test_sums_to_one_or_to_zero_with_contrast(sigma, theta):
    sigma, theta = torch.tensor(sigma), torch.tensor(theta)
    torch.testing.assert_close(pinwheel_kernel(sigma, theta, 7).sum(), torch.tensor(1.0))
    torch.testing.assert_close(pinwheel_kernel(sigma, theta, 7, contrast=True).sum(), torch.tensor(0.0))


def test_narrow_is_the_identity_and_wide_is_the_mask():
    identity = F.pad(torch.ones(1, 1), (3, 3, 3, 3)).expand(ANGLES, 7, 7)
    torch.testing.assert_close(pinwheel_kernel(torch.tensor(1e-3), steps, 7), identity)
    masks = pinwheel_mask(steps, 7)
    torch.testing.assert_close(pinwheel_kernel(torch.tensor(1e4), steps, 7), masks / masks.sum((1, 2), keepdim=True))


def test_forward_is_the_binary_mask_and_backward_the_soft_one():
    theta = torch.tensor(0.7, requires_grad=True)
    weights = torch.randn(7, 7, generator=torch.Generator().manual_seed(1))
    mask = pinwheel_mask(theta, 7)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    (hard,) = torch.autograd.grad((mask * weights).sum(), theta)
    (soft,) = torch.autograd.grad((torch.sigmoid(pinwheel_margin(theta, 7) / 0.25) * weights).sum(), theta)
    torch.testing.assert_close(hard, soft)
    assert abs(hard.item()) > 1e-3


def test_a_fixed_pinwheel_learns_the_axis_of_a_bar():
    layer = PinwheelConv2d(1)
    picture = bar(1.0)[None, None]
    optimiser = torch.optim.Adam([layer.theta], lr=0.02)
    before = layer(picture)[0, 0, 10, 10].item()
    for _ in range(150):
        optimiser.zero_grad()
        (-layer(picture)[0, 0, 10, 10]).backward()
        optimiser.step()
    assert layer(picture)[0, 0, 10, 10].item() > before + 0.05
    assert axis_error(layer.theta.item(), 1.0) < 2 * STEP


@pytest.mark.parametrize("layer", [PinwheelConv2d, OrientedPinwheelConv2d])
@pytest.mark.parametrize("raw", [-30.0, -1.0, 1.0, 4.69])  # sigma from 0.3 to 5
def test_gradients_are_finite(layer, raw):
    layer = layer(2)
    with torch.no_grad():
        next(p for name, p in layer.named_parameters() if "sigma" in name).fill_(raw)
    features = torch.randn(1, 2, 12, 12, requires_grad=True)
    layer(features).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in [features, *layer.parameters()])


def test_the_chosen_angle_is_that_of_a_bar_within_half_a_step():
    for sigma in (1.0, 1.5, 3.0):
        layer = OrientedPinwheelConv2d(1, sigma=sigma)
        angles = [math.pi * i / 60 for i in range(60)]
        for width in (0.7, 1.0, 2.0):
            chosen = layer.axis(torch.stack([bar(angle, width) for angle in angles])[:, None])[:, 0, 10, 10]
            worst = max(axis_error(a, b) for a, b in zip(angles, chosen.tolist(), strict=True))
            assert worst <= STEP / 2 + math.radians(2)  # the square grid biases the measured axis by up to 1.6 degrees


@pytest.mark.parametrize("angle", [0.3, 0.9, 1.5, 2.2])
def test_the_choice_ignores_level_and_gain(angle):
    layer = OrientedPinwheelConv2d(1)
    picture = bar(angle)[None, None]
    assert layer.axis(100 + 7 * picture)[0, 0, 10, 10] == layer.axis(picture)[0, 0, 10, 10]


def test_turning_the_picture_by_90_degrees_turns_the_response():
    layer = OrientedPinwheelConv2d(2)
    features = torch.randn(2, 2, 20, 15, generator=torch.Generator().manual_seed(2))
    expected = torch.rot90(layer(features), 1, (2, 3))
    torch.testing.assert_close(layer(torch.rot90(features, 1, (2, 3))), expected)


def test_every_pixel_gets_the_response_at_its_own_angle():
    layer = OrientedPinwheelConv2d(2, contrast=True)
    features = torch.randn(1, 2, 9, 9, generator=torch.Generator().manual_seed(3))
    out, axis = layer(features), layer.axis(features)
    for channel in range(2):
        for angle in steps:
            kernel = pinwheel_kernel(layer.bank.sigma[channel], angle, 7, contrast=True)
            response = F.conv2d(features[:, channel : channel + 1], kernel[None, None], padding=3)[0, 0]
            at = axis[0, channel] == angle
            torch.testing.assert_close(out[0, channel][at], response[at])


def test_the_choice_passes_a_gradient_but_leaves_the_value_alone():
    layer = OrientedPinwheelConv2d(1)
    features = torch.randn(1, 1, 15, 15, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        hard = layer(features)
    torch.testing.assert_close(layer(features), hard, rtol=0, atol=0)
    # A hard choice alone would leave the two axis kernels without a gradient.
    weight = layer.bank.weight.detach().requires_grad_()
    maps = F.conv2d(features, weight, padding=3)
    layer.bank.forward = lambda _: maps
    layer(features).sum().backward()
    assert (weight.grad[-2:].flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize(("layer", "parameters"), [(PinwheelConv2d, 10), (OrientedPinwheelConv2d, 5)])
def test_size_and_parameters(layer, parameters):
    layer = layer(5)
    assert layer(torch.zeros(2, 5, 8, 13)).shape == (2, 5, 8, 13)
    assert sum(p.numel() for p in layer.parameters()) == parameters
