import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.losses.maps import logits_and_masks, logits_of, plane
from training.losses.overlap import picture_soft_iou
from training.losses.scale import WEIGHTS, scale_iou

SCALE_FREE = ("diff", "mean", "ratio", "linear")
TRUE = (1.0, 4.0, 9.0, 21.0, 100.0, 400.0)

area = st.floats(0.01, 1e4)


def weight(name, predicted, true):
    return WEIGHTS[name](torch.as_tensor(predicted).double(), torch.as_tensor(true).double())


@pytest.mark.parametrize("name", WEIGHTS)
@given(predicted=area, true=area)
def test_between_0_and_1_at_the_match_and_symmetric(name, predicted, true):
    w = weight(name, predicted, true).item()
    assert 0 < w <= 1
    assert w == pytest.approx(weight(name, true, predicted).item(), abs=1e-9)
    assert weight(name, true, true).item() == 1


@pytest.mark.parametrize(
    "name, form",
    [
        ("diff", lambda m, big: (m + (big - m) / 2) / (big + (big - m) / 2)),
        ("diff", lambda m, big: (big + m) / (3 * big - m)),
        ("variance", lambda m, big: (m + ((big - m) / 2) ** 2) / (big + ((big - m) / 2) ** 2)),
        ("mean", lambda m, big: (3 * m + big) / (3 * big + m)),
        ("ratio", lambda m, big: m / big),
        ("linear", lambda m, big: m / (big + (big - m))),
    ],
)
@given(predicted=st.floats(1, 1e4), true=st.floats(1, 1e4))
def test_closed_forms_in_the_areas(name, form, predicted, true):
    expected = form(min(predicted, true), max(predicted, true))
    assert weight(name, predicted, true).item() == pytest.approx(expected, abs=1e-6)


def test_by_hand():
    # P = 6, T = 10: S = 1/4, m = 6, M = 10, d = 4, V = 4.
    values = {name: weight(name, 6, 10).item() for name in WEIGHTS}
    expected = {"diff": 8 / 12, "variance": 10 / 14, "mean": 14 / 18, "ratio": 6 / 10, "linear": 6 / 14}
    assert values == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("true", TRUE)
def test_weights_rise_to_the_match_and_fall_beyond_it(name, true):
    w = weight(name, true * torch.linspace(0, 4, 401), true)
    assert w.argmax() == 100
    assert (w[:101].diff() > 0).all()
    assert (w[100:].diff() < 0).all()


@pytest.mark.parametrize("true", TRUE)
def test_diff_is_steeper_the_nearer_the_match_with_slope_1_over_t(true):
    predicted = (true * torch.linspace(0, 4, 401, dtype=torch.float64)).requires_grad_()
    WEIGHTS["diff"](predicted, torch.tensor(true, dtype=torch.float64)).sum().backward()
    slope = predicted.grad
    torch.testing.assert_close(slope[:100], 4 * true / (3 * true - predicted[:100]) ** 2, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slope[101:], -4 * true / (3 * predicted[101:] - true) ** 2, rtol=1e-5, atol=1e-6)
    assert (slope[:100].diff() > 0).all()
    assert (slope[101:].diff() > 0).all()
    assert slope[99].item() * true == pytest.approx(1, abs=0.02)
    assert slope[101].item() * true == pytest.approx(-1, abs=0.04)


@pytest.mark.parametrize("true", TRUE)
def test_variance_dips_at_two_roots_of_the_area_and_climbs_back(true):
    excess = torch.arange(0, 40 * true + 40, 0.01, dtype=torch.float64)
    w = weight("variance", true + excess, true)
    assert excess[w.argmin()].item() == pytest.approx(2 * math.sqrt(true), abs=0.5)
    assert w.min().item() == pytest.approx(math.sqrt(true) / (1 + math.sqrt(true)), abs=1e-6)
    assert w[-1] > w.min() + 0.5 * (1 - w.min())


def test_variance_weight_of_a_miss_exceeds_that_of_a_small_shortfall():
    assert weight("variance", 80, 100).item() == pytest.approx(0.900, abs=1e-3)
    assert weight("variance", 0, 100).item() == pytest.approx(0.9615, abs=1e-4)


@given(predicted=st.floats(1, 500), true=st.floats(1, 500), size=st.floats(1, 50))
def test_all_weights_but_variance_depend_only_on_the_area_ratio(predicted, true, size):
    for name in SCALE_FREE:
        w = weight(name, size * predicted, size * true).item()
        assert w == pytest.approx(weight(name, predicted, true).item(), abs=1e-5)


def test_variance_depends_on_the_target_size():
    assert weight("variance", 18, 9).item() < weight("variance", 200, 100).item() - 0.1


def test_loss_by_hand():
    # p = 0.5, 0.5, 0.5, 0.5; g = 1, 1, 1, 0: I = 1.5, P = 2, T = 3, U = 3.5, S = 1/5.
    logits, mask = plane(0.0, 0.0, 0.0, 0.0), plane(1.0, 1.0, 1.0, 0.0)
    assert scale_iou(logits, mask, "diff").item() == pytest.approx(1 - (1 / 1.4) * (1.5 / 3.5))
    assert scale_iou(logits, mask, "ratio").item() == pytest.approx(1 - (2 / 3) * (1.5 / 3.5))
    assert scale_iou(logits, mask, None).item() == pytest.approx(1 - 1.5 / 3.5)


@pytest.mark.parametrize("name", WEIGHTS)
@settings(max_examples=40)
@given(maps=logits_and_masks())
def test_detached_every_pixel_is_pushed_the_right_way_and_the_value_is_the_same(name, maps):
    logits, mask = maps
    logits.requires_grad_()
    loss = scale_iou(logits, mask, name)
    loss.backward()
    assert (logits.grad[mask == 1] <= 0).all()
    assert (logits.grad[mask == 0] >= 0).all()
    assert torch.equal(loss, scale_iou(logits, mask, name, detach=False))


@given(maps=logits_and_masks())
def test_attached_diff_rewards_false_pixels_while_too_little_is_predicted(maps):
    logits, mask = maps
    logits = logits.double().requires_grad_()
    scale_iou(logits, mask, "diff", detach=False).backward()
    for one, grad, true in zip(logits, logits.grad, mask, strict=True):
        false = grad[true == 0]
        short = true.sum() / torch.sigmoid(one).sum()
        if short > 1.01 and false.numel():
            assert (false < 0).all()
        elif short < 0.99:
            assert (false >= 0).all()


@pytest.mark.parametrize(
    "name, share, wrong",
    [
        *[(name, share, True) for name in ("diff", "ratio", "linear") for share in (0.1, 0.5, 0.9)],
        ("mean", 0.25, True),
        ("mean", 0.6, False),
        ("variance", 60 / 81, False),
        ("variance", 78 / 81, True),
        *[(name, 1.5, False) for name in WEIGHTS],
    ],
)
def test_where_attached_weights_reward_false_pixels(name, share, wrong):
    # Target of 81 px with four fifths of the predicted mass on it.
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    mask[..., 10:19, 10:19] = 1
    on, off = min(0.8 * share, 0.999), max(0.2 * share, share - 0.999) * 81 / (32 * 32 - 81)
    logits = torch.logit(on * mask + off * (1 - mask)).requires_grad_()
    scale_iou(logits, mask, name, detach=False).backward()
    assert (logits.grad[mask == 0] < 0).all().item() == wrong


def test_attached_linear_pushes_targets_down_when_slightly_too_much_is_predicted():
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 10:19, 10:19] = 1
    logits = logits_of(0.99 * mask + 0.003 * (1 - mask))
    for name, wrong in (("linear", True), ("diff", False), ("variance", False), ("mean", False)):
        leaf = logits.clone().requires_grad_()
        scale_iou(leaf, mask, name, detach=False).backward()
        assert (leaf.grad[mask == 1] > 0).all().item() == wrong, name


@pytest.mark.parametrize("name", WEIGHTS)
def test_an_empty_picture_is_pushed_down_and_costs_its_false_area(name):
    logits = logits_of(torch.full((1, 1, 8, 8), 0.125)).requires_grad_()
    loss = scale_iou(logits, torch.zeros(1, 1, 8, 8), name)
    loss.backward()
    assert loss.item() == pytest.approx(8 / 9, rel=1e-5)  # P = 8 pixels
    assert loss.item() == pytest.approx(picture_soft_iou(logits, torch.zeros(1, 1, 8, 8)).item())
    assert (logits.grad > 0).all()
    assert scale_iou(torch.full((1, 1, 8, 8), -60.0), torch.zeros(1, 1, 8, 8), name).item() == pytest.approx(0)
