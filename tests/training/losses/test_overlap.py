import pytest
import torch
from hypothesis import given

from tests.training.losses.maps import logit, logits_and_masks, plane
from training.losses.overlap import batch_soft_iou, picture_soft_iou, soft_dice, soft_iou

OVERLAPS = (batch_soft_iou, picture_soft_iou, soft_iou, soft_dice)


def test_by_hand():
    # p = 0.5, 0.5, 0.8; g = 1, 0, 1: I = 1.3, P = 1.8, T = 2, U = 2.5, plus one pixel in numerator and denominator.
    logits, mask = plane(0.0, 0.0, logit(0.8)), plane(1.0, 0.0, 1.0)
    assert batch_soft_iou(logits, mask).item() == pytest.approx(1 - 2.3 / 3.5)
    assert picture_soft_iou(logits, mask).item() == pytest.approx(1 - 2.3 / 3.5)
    assert soft_dice(logits, mask).item() == pytest.approx(1 - 3.6 / 4.8)


def test_pooling_over_the_batch_and_over_each_picture_differ():
    logits = torch.cat([plane(0.0, 0.0, 0.0), plane(30.0, 30.0, -30.0)])
    mask = torch.cat([plane(1.0, 0.0, 0.0), plane(1.0, 1.0, 0.0)])
    # Picture 1: I = 0.5, P = 1.5, T = 1, U = 2; picture 2 is perfect with I = U = 2.
    batch, picture = 1 - (2.5 + 1) / (4 + 1), (1 - 1.5 / 3 + 0) / 2
    assert batch_soft_iou(logits, mask).item() == pytest.approx(batch)
    assert picture_soft_iou(logits, mask).item() == pytest.approx(picture)
    assert soft_iou(logits, mask).item() == pytest.approx((batch + picture) / 2)
    assert soft_dice(logits, mask).item() == pytest.approx((1 - 2 / 3.5) / 2)


@pytest.mark.parametrize("overlap", OVERLAPS)
@given(maps=logits_and_masks())
def test_gradient_pulls_targets_up_and_background_down(overlap, maps):
    logits, mask = maps
    logits.requires_grad_()
    overlap(logits, mask).backward()
    assert (logits.grad[mask == 1] <= 0).all()
    assert (logits.grad[mask == 0] >= 0).all()
    assert logits.grad[mask == 1].sum() < 0 < logits.grad[mask == 0].sum()


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_empty_pictures_are_pushed_down(overlap):
    logits = torch.zeros(2, 1, 8, 8, requires_grad=True)
    overlap(logits, torch.zeros(2, 1, 8, 8)).backward()
    assert (logits.grad > 0).all()
