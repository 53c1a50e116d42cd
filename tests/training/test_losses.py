import math

import pytest
import torch
from torch.nn import functional as F

from training.losses.mask import batch_soft_iou, mask_loss, multi_scale_loss, picture_soft_iou


def logit(probability):
    return math.log(probability / (1 - probability))


def plane(*values):
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def test_soft_iou_by_hand():
    # p = 0.5, 0.5, 0.8; g = 1, 0, 1: I = 1.3, U = 1.8 + 2 - 1.3 = 2.5, both with one pixel added.
    logits, mask = plane(0.0, 0.0, logit(0.8)), plane(1.0, 0.0, 1.0)
    assert batch_soft_iou(logits, mask).item() == pytest.approx(1 - 2.3 / 3.5)
    assert picture_soft_iou(logits, mask).item() == pytest.approx(1 - 2.3 / 3.5)


def test_pooling_over_the_batch_and_over_each_picture_differ():
    logits = torch.cat([plane(0.0, 0.0, 0.0), plane(30.0, 30.0, -30.0)])
    mask = torch.cat([plane(1.0, 0.0, 0.0), plane(1.0, 1.0, 0.0)])
    # Picture 1: I = 0.5, U = 1.5 + 1 - 0.5 = 2; picture 2 is perfect with I = U = 2.
    assert batch_soft_iou(logits, mask).item() == pytest.approx(1 - (2.5 + 1) / (4 + 1))
    assert picture_soft_iou(logits, mask).item() == pytest.approx((1 - 1.5 / 3 + 0) / 2)


def test_mask_loss_weighs_cross_entropy_and_soft_iou():
    logits, mask = plane(0.0, 0.0, logit(0.8)), plane(1.0, 0.0, 1.0)
    entropy = (2 * math.log(2) - math.log(0.8)) / 3
    assert mask_loss(logits, mask, 1.0).item() == pytest.approx(entropy)
    assert mask_loss(logits, mask, 0.3).item() == pytest.approx(0.3 * entropy + 0.7 * (1 - 2.3 / 3.5))


@pytest.mark.parametrize("cross_entropy", [0.0, 0.3, 1.0])
def test_gradient_pulls_targets_up_and_background_down(cross_entropy):
    logits = torch.randn(2, 1, 8, 8, requires_grad=True)
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, 0, 2:4, 3:6] = 1
    mask_loss(logits, mask, cross_entropy).backward()
    assert (logits.grad[mask == 1] < 0).all()
    assert (logits.grad[mask == 0] > 0).all()


@pytest.mark.parametrize("cross_entropy", [0.0, 0.3])
def test_empty_pictures_are_pushed_down_not_ignored(cross_entropy):
    logits = torch.zeros(2, 1, 8, 8, requires_grad=True)
    loss = mask_loss(logits, torch.zeros(2, 1, 8, 8), cross_entropy)
    loss.backward()
    assert torch.isfinite(loss)
    assert (logits.grad > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_saturated_logits_stay_finite(value, dtype):
    logits = torch.full((1, 1, 64, 64), value, dtype=dtype, requires_grad=True)
    mask = torch.zeros(1, 1, 64, 64)
    mask[0, 0, 0, 0] = 1
    loss = mask_loss(logits, mask, 0.3)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_heads_are_scored_on_the_pooled_mask():
    logits = torch.randn(1, 1, 4, 4)
    heads = [torch.randn(1, 1, 4, 4), torch.randn(1, 1, 2, 2)]
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 3, 0] = 1  # one pixel makes its whole cell a target at stride two
    small = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).view(1, 1, 2, 2)
    assert torch.equal(F.max_pool2d(mask, 2), small)
    expected = (mask_loss(logits, mask, 0.3) + mask_loss(heads[0], mask, 0.3) + mask_loss(heads[1], small, 0.3)) / 3
    torch.testing.assert_close(multi_scale_loss(logits, heads, mask, 0.3), expected)
