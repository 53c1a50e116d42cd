from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

import nets
from pipeline.detect.backends import artefact, make_backend
from pipeline.detect.backends.artefact import Accuracy
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError, ConfigError, one_line
from tests.detect.conftest import described_artefact

ACCURACY = Accuracy(data="a", pictures=2, threshold=0.5, reference={"iou": 0.6}, artefact={"iou": 0.55})


@pytest.fixture
def made(weights, tmp_path):
    """Path of the manifest of an artefact with a single file, which contains b"model"."""
    described = described_artefact(weights, format="onnx", precision="fp32", accuracy=ACCURACY)
    path = tmp_path / "lively-onnx.json"
    artefact.write(path, described, {"lively-onnx.onnx": b"model"})
    return path


def changed(path, **fields):
    tree = json.loads(path.read_bytes())
    path.write_text(json.dumps(tree | fields))
    return path


def test_write_and_read_round_trip(made, weights):
    manifest = nets.read_manifest(weights)
    assert artefact.open_files(made, "onnx", "fp32", manifest) == [b"model"]
    found = artefact.read(made)
    assert (found.weights, found.accuracy) == ("lively", ACCURACY)
    assert found.accuracy.iou_loss == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"format": "tensorrt"}, "made for tensorrt, but detect.backend is onnx"),
        ({"precision": "int8"}, "runs int8, but detect.precision is fp32"),
        ({"weights_sha256": "ab" * 32}, r"made from lively \(abababab\), not from lively"),
        ({"files": {"lively-onnx.onnx": "0" * 64}}, "lively-onnx.onnx: sha256 differs"),
        ({"files": {"absent.onnx": "0" * 64}}, "absent.onnx: No such file"),
        ({"files": {}}, "files: 1 needed, there are 0"),
        ({"files": {"../elsewhere": "0" * 64}}, "files"),
        ({"files": {"..": "0" * 64}}, "files"),
        ({"surprise": 1}, "surprise"),
        ({"precision": "fp7"}, "precision"),
    ],
)
def test_mismatched_artefact_raises_one_line_error(made, weights, fields, reason):
    with pytest.raises(BackendError, match=reason) as caught:
        artefact.open_files(changed(made, **fields), "onnx", "fp32", nets.read_manifest(weights))
    assert "detect.artefact: " in str(caught.value)
    assert "\n" not in one_line(caught.value)


def test_artefact_for_other_network_input_is_rejected(made, weights):
    manifest = nets.read_manifest(weights)
    seen, replace = manifest.input, msgspec.structs.replace
    for other in (replace(seen, normalisation=replace(seen.normalisation, clip=9.0)), replace(seen, scales=2)):
        with pytest.raises(BackendError, match="made from lively"):
            artefact.open_files(made, "onnx", "fp32", replace(manifest, input=other))


def test_invalid_or_missing_manifest_is_named(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    for name in ("bad.json", "absent.json"):
        with pytest.raises(BackendError, match=rf"detect\.artefact: .*{name}"):
            artefact.read(tmp_path / name)


def test_write_error_names_the_file(made):
    with pytest.raises(ConfigError, match="lively-onnx"):
        artefact.write(made / "below" / "x.json", artefact.read(made), {"x": b""})


@pytest.mark.parametrize("name", ["torch", "compiled"])
def test_torch_backends_reject_an_artefact(made, weights, name):
    with pytest.raises(BackendError, match=f"detect.artefact: the {name} backend"):
        make_backend(DetectConfig(weights=weights, backend=name, artefact=str(made)))


def test_a_damaged_model_is_refused(made, weights):
    pytest.importorskip("onnxruntime")
    with pytest.raises(BackendError, match="onnx cannot run lively"):
        make_backend(DetectConfig(weights=weights, backend="onnx", device="cpu", artefact=str(made)))
    Path(made).with_suffix(".onnx").write_bytes(b"other")
    with pytest.raises(BackendError, match="sha256 differs"):
        make_backend(DetectConfig(weights=weights, backend="onnx", device="cpu", artefact=str(made)))
