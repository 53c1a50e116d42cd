import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses.distillation import distillation


def test_by_hand():
    logits, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([math.log(3), -math.log(3)]).reshape(1, 1, 1, 2)
    p, q = [0.5, 0.5], [0.75, 0.25]
    apart = sum(a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b)) for a, b in zip(q, p, strict=True)) / 2
    dice = 1 - (2 * 0.5 + 1) / (0.5 + 0.625 + 1)
    assert distillation(logits, teacher).item() == pytest.approx((apart + dice) / 2, rel=1e-6)


@given(seed=st.integers(0, 1000), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_least_where_both_agree(seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    teacher = (4 * torch.randn(2, 1, 8, 8, generator=generator)).to(dtype)
    assert distillation(teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    other = (teacher + torch.randn(2, 1, 8, 8, generator=generator)).requires_grad_()
    loss = distillation(other, teacher)
    assert loss.dtype is torch.float32
    assert loss.item() > 0
    loss.backward()
    downhill = other.detach().float() - 0.1 * other.grad.float()
    assert distillation(downhill, teacher) < loss


def test_certain_maps_give_no_nan():
    certain = torch.tensor([-80.0, 80.0]).reshape(1, 1, 1, 2).requires_grad_()
    loss = distillation(certain, -certain.detach())
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(certain.grad).all()


def test_a_target_missed_in_a_wide_background_still_counts():
    teacher = torch.full((1, 1, 256, 256), -12.0)
    teacher[..., 100:103, 100:103] = 8.0
    assert distillation(torch.full_like(teacher, -12.0), teacher).item() > 0.4
