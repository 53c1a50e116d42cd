import numpy as np
import pytest
import torch

import nets
from nets.manifest import Input, Manifest, Training, Validation
from nets.normalisation import FrameZScore
from pipeline.detect.backends.torch_eager import TorchBackend
from pipeline.detect.config import DetectConfig
from pipeline.preprocess.intensity import measure
from training.predict import probabilities


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("windows", [(), (9, 17)])
@pytest.mark.parametrize("scales", [1, 2])
def test_probability_maps_are_those_of_live_use(tmp_path, dtype, windows, scales):
    norm = FrameZScore(windows=windows)
    torch.manual_seed(0)
    path = tmp_path / "any.safetensors"
    manifest = Manifest(
        name="any",
        architecture="mshnet",
        options={"in_channels": norm.channels},
        sha256="0" * 64,
        input=Input(channels=norm.channels, normalisation=norm, scales=scales),
        threshold=0.5,
        training=Training(data={}, split="", recipe="", seed=0, commit="", steps=0),
        validation=Validation(protocol="", split="", metrics={}),
    )
    nets.save(path, nets.build("mshnet", in_channels=norm.channels), manifest)
    picture = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, (75, 70), dtype)

    backend = TorchBackend(DetectConfig(weights=str(path), backend="torch", device="cpu", threads=1))
    live = backend.infer(picture[None], [measure(picture, norm)])[0]
    network, _ = nets.load(str(path))
    scored = probabilities(network, picture, norm, torch.device("cpu"))
    assert np.ptp(live) > 0
    np.testing.assert_array_equal(scored, live)
