from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import nn

import nets
from nets.fold import fold
from nets.manifest import Input, Training, Validation
from nets.normalisation import FrameZScore, normalise
from nets.on_gpu import for_gpu
from nets.registry import ARCHITECTURES
from pipeline.detect.backends import make_backend
from pipeline.detect.backends.parity import TOLERANCES, compare, rendered
from pipeline.detect.config import DetectConfig


class Tiny(nn.Sequential):
    """Network of two convolutions, since a real one takes minutes to compile on a CPU."""

    def __init__(self, in_channels: int = 1) -> None:
        layers = (nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
        super().__init__(*layers)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "tiny", Tiny)
    torch.manual_seed(0)
    network = Tiny()
    network(torch.randn(4, 1, 32, 32))
    with torch.no_grad():
        network[3].weight *= 10
    manifest = nets.Manifest(
        name="tiny",
        architecture="tiny",
        options={},
        sha256="0" * 64,
        input=Input(channels=1, normalisation=FrameZScore()),
        threshold=0.5,
        training=Training(data={}, split="none", recipe="none", seed=0, commit="none", steps=0),
        validation=Validation(protocol="none", split="none", metrics={}),
    )
    path = tmp_path / "tiny.safetensors"
    nets.save(path, network.eval(), manifest)
    return str(path)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_compiled_network_agrees_with_torch(tiny, device):
    if device == "cpu" and shutil.which("g++") is None:
        pytest.skip("compiling on a CPU needs a C++ compiler")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    settings = {"weights": tiny, "device": device, "threads": 1}
    reference = make_backend(DetectConfig(**settings, backend="torch"))
    compiled = make_backend(DetectConfig(**settings, backend="compiled", batch_size=4))
    pictures = [np.random.default_rng(k).normal(100, 20, (40, 56)).astype(np.uint8) for k in range(3)]
    found = compare(reference, compiled, pictures)
    assert TOLERANCES["fp32"].holds(found), found
    logits = reference.logits(pictures[0][None], [_intensity(reference, pictures[0])])
    assert logits.min() < -1 < 1 < logits.max()


@pytest.mark.parametrize("weights", ["mshnet", "edge"])
def test_what_a_gpu_runs_can_be_traced_as_one_graph(weights):
    network, manifest = nets.load(weights)
    network = for_gpu(fold(network)).to(memory_format=torch.channels_last)
    norm = manifest.input.normalisation

    def forward(planes, mean, gain):
        return network(normalise(planes, mean, gain, norm))

    generator = torch.Generator().manual_seed(0)
    planes = torch.randint(0, 256, (2, 2, 64, 80), generator=generator).float()
    facts = torch.tensor([120.0, 130.0]), torch.tensor([0.02, 0.01])
    with torch.inference_mode():
        logits = torch.compile(forward, backend="aot_eager", fullgraph=True, dynamic=False)(planes, *facts)
        torch.testing.assert_close(logits, forward(planes, *facts), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["torch", "compiled"])
def test_cudnn_is_used_exactly_and_as_before_afterwards(tiny, name):
    def flags():
        cudnn = torch.backends.cudnn
        return {"enabled": cudnn.enabled, "deterministic": cudnn.deterministic, "tf32": cudnn.allow_tf32}

    class Probe(nn.Module):
        def forward(self, batch):
            seen.append(flags())
            return batch

    seen, before = [], flags()
    backend = make_backend(DetectConfig(weights=tiny, device="cpu", threads=1, backend=name))
    backend._network = Probe()
    backend.run(torch.zeros(1, 1, 40, 56))
    assert seen == [{"enabled": True, "deterministic": True, "tf32": False}]
    assert flags() == before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_whole_compiled_network_agrees_on_a_gpu(precision):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    reference = make_backend(DetectConfig(weights="mshnet", backend="torch", device="cpu"))
    compiled = make_backend(
        DetectConfig(weights="mshnet", device="cuda", backend="compiled", precision=precision, batch_size=4)
    )
    found = compare(reference, compiled, rendered())
    assert TOLERANCES[precision].holds(found), found


def _intensity(backend, picture):
    from pipeline.preprocess.intensity import measure

    return measure(picture, backend.manifest.input.normalisation)
