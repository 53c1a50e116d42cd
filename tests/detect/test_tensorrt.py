from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.detect.backends import artefact, make_backend
from pipeline.detect.backends.parity import TOLERANCES
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError
from pipeline.preprocess.intensity import measure
from tools.export import export

pytest.importorskip("tensorrt")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_an_engine_agrees_with_torch_and_takes_its_own_size_only(tmp_path):
    path = export("mshnet", "tensorrt", tmp_path, size=(2, 128, 160))
    found = artefact.read(path).parity["rendered"]
    assert TOLERANCES["fp16"].holds(found), found
    engine = make_backend(DetectConfig(backend="tensorrt", precision="fp16", artefact=str(path)))
    assert engine.size == (128, 160)
    picture = np.random.default_rng(0).normal(100, 20, (1, 64, 64)).astype(np.uint8)
    with pytest.raises(BackendError, match="takes pictures of 160x128, here is one of 64x64"):
        engine.infer(picture, [measure(picture[0], engine.manifest.input.normalisation)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so():
    with pytest.raises(BackendError, match="the tensorrt backend runs on cuda"):
        make_backend(DetectConfig(backend="tensorrt", precision="fp16", device="cpu"))
