"""Random weights with useful maps: the probabilities are spread out, without any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nets
from nets.manifest import Input, Training, Validation
from nets.normalisation import FrameZScore
from pipeline.detect.backends.artefact import Artefact

NORM = FrameZScore(windows=(9,))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of random weights whose logits are spread around zero on noise."""
    return written(tmp_path_factory.mktemp("weights") / "lively.safetensors", NORM)


@pytest.fixture(scope="session")
def change_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of random weights that also take change pictures as input."""
    return written(tmp_path_factory.mktemp("weights") / "lively.safetensors", FrameZScore(windows=(9,), change=True))


def written(path: Path, norm: FrameZScore) -> str:
    """Write random weights and their manifest; return the path of the weights."""
    torch.manual_seed(0)
    options = {"in_channels": norm.channels}
    network = nets.build("mshnet", **options)
    noise = torch.randn(2, norm.channels, 64, 64)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        network.train()(noise)
        network.fuse.weight /= network.eval()(noise).std() / 2
        network.fuse.bias -= network(noise).quantile(0.7)
    manifest = nets.Manifest(
        name="lively",
        architecture="mshnet",
        options=options,
        sha256="0" * 64,
        input=Input(channels=norm.channels, normalisation=norm),
        threshold=0.5,
        training=Training(data={}, split="none", recipe="none", seed=0, commit="none", steps=0),
        validation=Validation(protocol="none", split="none", metrics={}),
    )
    nets.save(path, network, manifest)
    return str(path)


def described_artefact(weights: str, **fields: Any) -> Artefact:
    """Return the manifest of an artefact made from these weights."""
    manifest = nets.read_manifest(weights)
    of_these = {"weights": manifest.name, "weights_sha256": manifest.sha256, "input": manifest.input}
    return Artefact(files={}, made_with={"torch": "2"}, **of_these, **fields)
