"""Minimum work of a network against hand counts and the published figure."""

from __future__ import annotations

import pytest
from torch import nn

import nets
from tools.benchmark.cost import Layer, layers, least_seconds


def test_layers_of_a_small_network_by_hand() -> None:
    found = layers(lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)), 3, 4, 5)
    assert found == [
        Layer(flops=2 * 20 * 8 * 3 * 9, activations=20 * (3 + 8), weights=8 * 3 * 9),
        Layer(flops=2 * 20 * 2 * 8, activations=20 * (8 + 2), weights=16),
    ]


def test_grouped_convolution_does_its_share() -> None:
    (layer,) = layers(lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8), 8, 4, 4)
    assert layer.flops == 2 * 16 * 8 * 9


def test_published_network_has_the_published_cost() -> None:
    work = layers(lambda: nets.build("mshnet", in_channels=3), 3, 256, 256)
    assert sum(layer.flops for layer in work) / 2 == pytest.approx(6.0015e9, rel=1e-3)


def test_each_layer_waits_for_the_slower_of_arithmetic_and_memory() -> None:
    work = [Layer(flops=100, activations=10, weights=0), Layer(flops=10, activations=100, weights=50)]
    # First: 2 pictures x 100 / 10 per s = 20 s. Second: (2 x 100 + 50) numbers of 4 bytes at 20 bytes/s = 50 s.
    assert least_seconds(work, 2, flops_per_s=10, bytes_per_s=20, itemsize=4) == pytest.approx(20 + 50)
