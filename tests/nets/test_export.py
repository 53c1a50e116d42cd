"""Every network exports to ONNX and gives equal logits there."""

import numpy as np
import pytest
import torch

from nets.export import INPUT, OUTPUT, HalfPrecision, to_onnx, to_openvino
from nets.fold import fold
from tests.nets.test_registry import SMALL, small_network

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.mark.parametrize("name", sorted(SMALL))
def test_onnx_gives_equal_logits(name, tmp_path):
    network = small_network(name).eval().requires_grad_(False)
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


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_exported_network_takes_pictures_of_any_size(name):
    network = fold(small_network(name))
    exported = session(to_onnx(network, 1))
    for size in ((64, 64), (33, 47), (70, 50)):
        picture = torch.randn(1, 1, *size)
        (logits,) = exported.run([OUTPUT], {INPUT: picture.numpy()})
        expected = network(picture)
        np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-3 * expected.std().item())


@pytest.mark.parametrize("name", ["sgem_unet", "sgem_unet_linear"])
def test_openvino_gives_equal_logits_of_pictures_of_any_size(name):
    openvino = pytest.importorskip("openvino")
    network = fold(small_network(name))
    compiled = openvino.compile_model(to_openvino(network, 1), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for size in ((64, 64), (33, 47)):
        picture = torch.randn(1, 1, *size)
        expected = network(picture)
        np.testing.assert_allclose(
            compiled([picture.numpy()])[0], expected.numpy(), rtol=0, atol=1e-3 * expected.std().item()
        )


class Eigenvalues(torch.nn.Module):
    def forward(self, picture):
        return torch.linalg.eigvals(picture).real


@pytest.mark.parametrize("export", [to_onnx, to_openvino])
def test_export_failure_names_the_unsupported_operation(export):
    pytest.importorskip("openvino")
    with pytest.raises(RuntimeError, match="aten::linalg_eigvals") as refused:
        export(Eigenvalues().eval(), 1)
    assert "\n" not in str(refused.value)


def test_fixed_size_half_precision_export_has_static_shapes():
    onnx = pytest.importorskip("onnx")
    network = fold(small_network("mshnet"))
    picture = torch.randn(2, 1, 48, 70)
    expected = network(picture)
    model = to_onnx(HalfPrecision(network), 1, fixed=(2, 48, 70))
    operators = {node.op_type for node in onnx.load_from_string(model).graph.node}
    assert "Shape" not in operators
    exported = session(model)
    assert exported.get_inputs()[0].shape == [2, 1, 48, 70]
    (logits,) = exported.run([OUTPUT], {INPUT: picture.numpy()})
    assert logits.dtype == np.float32
    difference = np.abs(logits - expected.numpy()).max() / expected.std().item()
    assert 1e-6 < difference < 0.05
