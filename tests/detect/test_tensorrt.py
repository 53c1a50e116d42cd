from __future__ import annotations

import importlib
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

import nets
from pipeline.detect.backends import artefact, make_backend
from pipeline.detect.backends.base import Backend
from pipeline.detect.backends.parity import TOLERANCES
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError
from pipeline.preprocess.intensity import measure
from tools.export import export


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_engine_agrees_with_torch_and_rejects_other_sizes(tmp_path):
    pytest.importorskip("tensorrt")
    path = export("mshnet", "tensorrt", tmp_path, size=(2, 128, 160))
    found = artefact.read(path).parity["rendered"]
    assert TOLERANCES["fp16"].holds(found), found
    engine = make_backend(DetectConfig(weights="mshnet", backend="tensorrt", precision="fp16", artefact=str(path)))
    assert engine.size == (128, 160)
    picture = np.random.default_rng(0).normal(100, 20, (1, 64, 64)).astype(np.uint8)
    with pytest.raises(BackendError, match="pictures of 160x128 in batches of 2, not of 64x64 in batches of 2"):
        engine.infer(picture, [measure(picture[0], engine.manifest.input.normalisation)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_tensorrt_without_gpu_raises():
    pytest.importorskip("tensorrt")
    with pytest.raises(BackendError, match="the tensorrt backend runs on cuda"):
        make_backend(DetectConfig(backend="tensorrt", precision="fp16", device="cpu"))


@pytest.fixture
def full_engine(weights, monkeypatch):
    """Backend without library and GPU, whose engine for two pictures of 80x64 always runs out of memory."""
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.delitem(sys.modules, "pipeline.detect.backends.tensor_rt", raising=False)
    module = importlib.import_module("pipeline.detect.backends.tensor_rt")
    del sys.modules[module.__name__]  # the fake must not be visible to other tests

    class OutOfMemoryEngine(module.TensorRtBackend):
        def __init__(self):
            self._shape = (2, 2, 64, 80)
            Backend.__init__(self, DetectConfig(precision="fp16"), nets.read_manifest(weights), batch=2)

        def run(self, batch):
            if batch.shape == self._shape:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().run(batch)

    return OutOfMemoryEngine()


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((64, 80), "no memory for the engine's batch of 2; export a smaller one"),
        ((48, 64), "takes pictures of 80x64 in batches of 2, not of 64x48 in batches of 2"),
    ],
)
def test_engine_rejects_other_batch_and_picture_sizes(full_engine, shape, said):
    picture = np.random.default_rng(0).normal(100, 20, (1, *shape)).astype(np.uint8)
    with pytest.raises(BackendError, match=said):
        full_engine.infer(picture, [measure(picture[0], full_engine.manifest.input.normalisation)])
