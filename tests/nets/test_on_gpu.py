from __future__ import annotations

import pytest
import torch
from torch import nn

import nets
from nets.fold import fold
from nets.layers.attention import ChannelAttention
from nets.on_gpu import for_gpu
from nets.registry import ARCHITECTURES
from tests.nets.test_fold import randomise


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_architecture_gives_the_same_logits(name, channels):
    torch.manual_seed(0)
    network = randomise(nets.build(name, in_channels=channels))
    picture = torch.randn(2, channels, 45, 61)
    expected, exchanged = network(picture), for_gpu(fold(network))
    torch.testing.assert_close(exchanged(picture), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_convolutions_of_few_channels_are_gone_and_wide_ones_stay():
    folded = fold(randomise(nets.build("mshnet", in_channels=3)))
    left = [module for module in for_gpu(folded).modules() if isinstance(module, (nn.Conv2d, ChannelAttention))]
    # Two in each of the 16 blocks, plus a shortcut in eight of them.
    assert len(left) == 2 * 16 + 8
    assert all(isinstance(conv, nn.Conv2d) and min(conv.in_channels, conv.out_channels) >= 16 for conv in left)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 1, 7, padding=3, bias=False),
        nn.Conv2d(4, 1, 3, padding=1),
        nn.Conv2d(3, 16, 1),
        nn.Conv2d(16, 1, 1),
        nn.Conv2d(16, 1, 1, bias=False),
        nn.Conv2d(3, 5, 1, bias=False),
    ],
    ids=str,
)
def test_layers_of_few_channels_are_replaced_by_equivalent_ones(conv):
    features = torch.randn(2, conv.in_channels, 13, 18)
    other = for_gpu(nn.Sequential(conv))
    assert not isinstance(other[0], nn.Conv2d)
    torch.testing.assert_close(other(features), conv(features), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(16, 16, 1),
        nn.Conv2d(2, 1, 11, padding=5),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Conv2d(2, 1, 3, padding=1, stride=2),
        nn.Conv2d(2, 1, 3),
        nn.Conv2d(2, 1, (1, 3), padding=(0, 1)),
        nn.Conv2d(2, 1, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 16, 1, stride=2),
    ],
    ids=str,
)
def test_other_layers_are_kept(conv):
    assert for_gpu(nn.Sequential(conv))[0] is conv
