import math

import pytest
import torch
from torch import nn

from training.config import OptimiserConfig
from training.optimisation import AveragedWeights, build_optimiser, learning_rate


@pytest.mark.parametrize(("progress", "rate"), [(0, 0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.55), (1.0, 0.1), (1.7, 0.1)])
def test_learning_rate_by_hand(progress, rate):
    config = OptimiserConfig(lr=1.0, lr_end=0.1, warm_up=0.1)
    assert learning_rate(progress, config) == pytest.approx(rate)


def test_no_warm_up():
    assert learning_rate(0.0, OptimiserConfig(lr=1.0, warm_up=0.0)) == 1.0


def test_only_kernels_decay():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    decayed, others = build_optimiser(network, OptimiserConfig(weight_decay=0.2)).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.2, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 1, 3, 3)]
    assert len(others["params"]) == 3


def test_the_optimiser_is_the_one_asked_for():
    network = nn.Conv2d(1, 2, 3)
    assert isinstance(build_optimiser(network, OptimiserConfig()), torch.optim.AdamW)
    adagrad = build_optimiser(network, OptimiserConfig(name="adagrad", lr=0.05, weight_decay=0))
    before = network.bias.detach().clone()
    network.bias.grad = torch.tensor([1.0, -2.0])
    adagrad.step()
    assert (network.bias.detach() - before).tolist() == pytest.approx([-0.05, 0.05])  # lr * g / sqrt(g^2)


def test_averaged_weights_by_hand():
    network = nn.BatchNorm1d(1)
    averaged = AveragedWeights(network, decay=0.15)
    for step, value in enumerate([10.0, 20.0]):
        with torch.no_grad():
            network.weight.fill_(value)
            network.running_mean.fill_(value)
            network.num_batches_tracked.fill_(step + 1)
        averaged.update(step)
    # Decay 1/10 at step 0, then min(0.15, 2/11) = 0.15.
    first = 0.1 * 1.0 + 0.9 * 10
    state = averaged.network.state_dict()
    assert state["weight"].item() == pytest.approx(0.15 * first + 0.85 * 20)
    assert state["running_mean"].item() == pytest.approx(0.15 * (0.1 * 0 + 0.9 * 10) + 0.85 * 20)
    assert state["num_batches_tracked"].item() == 2
    assert math.isclose(network.weight.item(), 20)
    assert not averaged.network.training
