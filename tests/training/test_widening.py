"""Use of weights without the change channel in a network that has it."""

import msgspec
import pytest
import torch

import nets
from nets.normalisation import FrameZScore
from pipeline.errors import ConfigError
from tests.detect.conftest import written
from training.config import DataConfig, NetworkConfig, SourceConfig, TrainConfig
from training.run_weights import blend
from training.widening import pad_input_channels, with_change_channel

NORM = FrameZScore(windows=(9,))


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return written(tmp_path_factory.mktemp("weights") / "single.safetensors", NORM)


def recipe(norm, **options):
    return TrainConfig(
        data=DataConfig(sources=[SourceConfig(folder="none")]),
        network=NetworkConfig(name="mshnet", options={"in_channels": norm.channels, **options}),
        normalisation=norm,
    )


def test_a_manifest_gets_the_channel_once(single):
    manifest = nets.read_manifest(single)
    shown = with_change_channel(manifest)
    assert shown.options == {"in_channels": 3}
    assert (shown.input.channels, shown.input.normalisation.change) == (3, True)
    assert with_change_channel(shown) == shown
    assert msgspec.structs.replace(shown, options=manifest.options, input=manifest.input) == manifest


def test_only_channels_that_are_missing_at_the_end_are_added():
    old = torch.arange(8.0).view(2, 2, 1, 2)
    wide = pad_input_channels(old, torch.empty(2, 5, 1, 2))
    assert torch.equal(wide[:, :2], old)
    assert not wide[:, 2:].any()
    for fresh in (torch.empty(2, 1, 1, 2), torch.empty(2)):
        assert pad_input_channels(old, fresh) is old


def test_blending_with_weights_without_changes_keeps_the_kernels_for_changes(single):
    norm = msgspec.structs.replace(NORM, change=True)
    torch.manual_seed(1)
    network = nets.build("mshnet", in_channels=3)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    other, manifest = nets.load_trained(single)
    assert blend(network, recipe(norm), single, 0.5) == manifest
    stem = next(key for key, value in before.items() if value.ndim == 4 and value.shape[1] == 3)
    mean = network.state_dict()[stem]
    torch.testing.assert_close(mean[:, 2], before[stem][:, 2], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(mean[:, :2], (before[stem][:, :2] + other.state_dict()[stem]) / 2, atol=1e-3, rtol=1e-3)
    with pytest.raises(ConfigError, match="is another network than the run's"):
        blend(nets.build("mshnet", in_channels=2), recipe(FrameZScore(windows=(17,))), single, 0.5)
