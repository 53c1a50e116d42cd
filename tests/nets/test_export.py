"""Every network leaves PyTorch as ONNX and says the same there."""

import numpy as np
import pytest
import torch

from tests.nets.test_registry import SMALL, awake

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.mark.parametrize("name", sorted(SMALL))
def test_onnx_gives_equal_logits(name, tmp_path):
    network = awake(name).eval().requires_grad_(False)
    picture = torch.randn(1, 1, 64, 48)
    path = tmp_path / f"{name}.onnx"
    torch.onnx.export(network, (picture,), path, input_names=["picture"], output_names=["logits"], dynamo=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"picture": picture.numpy()})
    np.testing.assert_allclose(logits, network(picture).numpy(), rtol=1e-3, atol=1e-4)
    other = torch.randn(1, 1, 64, 48)
    (logits,) = session.run(["logits"], {"picture": other.numpy()})
    np.testing.assert_allclose(logits, network(other).numpy(), rtol=1e-3, atol=1e-4)
