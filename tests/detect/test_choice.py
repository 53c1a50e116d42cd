from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from pipeline.config import load
from pipeline.detect.backends import artefact, available, choice, make_backend, select
from pipeline.detect.backends.artefact import Accuracy
from pipeline.detect.backends.parity import Tolerance
from pipeline.detect.config import DetectConfig
from pipeline.detect.stage import DetectStage
from pipeline.errors import BackendError
from tests.detect.conftest import described_artefact

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture
def config(weights):
    return DetectConfig(weights=weights, backend="auto", precision="fp32", device="cpu", threads=1)


def without(monkeypatch, *packages):
    for package, module in (("openvino", "openvino_cpu"), ("onnxruntime", "onnx_runtime"), ("tensorrt", "tensor_rt")):
        if package in packages:
            monkeypatch.setitem(sys.modules, package, None)
            monkeypatch.delitem(sys.modules, f"pipeline.detect.backends.{module}", raising=False)


def kinds(choices):
    return [(c.backend, c.precision) for c in choices]


def test_backend_configured_by_name_is_used(config):
    backend, reason = select(msgspec.structs.replace(config, backend="torch"))
    assert (backend.name, reason) == ("torch", "configured")


def test_without_optional_packages_auto_is_torch(config, monkeypatch):
    without(monkeypatch, "openvino", "onnxruntime", "tensorrt")
    assert {name for name, _ in kinds(available(config))} == {"torch", "compiled"}
    backend, reason = select(config)
    assert (backend.name, backend.precision) == ("torch", "fp32")
    assert reason == "the reference, nothing faster can be used"


def test_auto_selects_fastest_agreeing_backend(config, monkeypatch):
    pytest.importorskip("openvino")
    without(monkeypatch, "onnxruntime")
    monkeypatch.setitem(choice.TOLERANCES, "fp32", Tolerance(max_logit=1e-2, components=0.99, iou=0.99))
    backend, reason = select(config)
    assert (backend.name, backend.precision) == ("openvino", "fp32")
    assert reason.startswith("fastest here that agrees with torch (max logit difference ")
    if ("openvino", "bf16") in kinds(available(config)):
        assert "openvino bf16 is less exact than detect.precision fp32" in reason


def test_auto_falls_back_to_torch_if_others_disagree(config, monkeypatch):
    pytest.importorskip("openvino")
    without(monkeypatch, "onnxruntime")
    monkeypatch.setitem(choice.TOLERANCES, "fp32", Tolerance(max_logit=-1, components=1, iou=1))
    stage = DetectStage(config)
    stage.open()
    facts = stage.facts()
    assert (facts["backend"], facts["precision"]) == ("torch", "fp32")
    assert "openvino fp32 is too far from torch (max logit difference " in facts["chosen"]


def int8(config, tmp_path, accuracy):
    made = described_artefact(config.weights, format="openvino", precision="int8", accuracy=accuracy)
    path = tmp_path / "int8.json"
    artefact.write(path, made, {"int8.xml": b"no model", "int8.bin": b""})
    return msgspec.structs.replace(config, artefact=str(path), precision="int8")


@pytest.mark.parametrize(
    ("after", "reason"),
    [(None, "has no measured accuracy"), (0.59, "loses 1.00 IoU points on irstd_1k, 0.3 allowed")],
)
def test_auto_skips_int8_artefact_without_proven_accuracy(config, tmp_path, monkeypatch, after, reason):
    pytest.importorskip("openvino")
    accuracy = after and Accuracy(
        data="irstd_1k", pictures=40, threshold=0.9, reference={"iou": 0.6}, artefact={"iou": after}
    )
    monkeypatch.setattr(choice, "_ON_CPU", (("openvino", "int8"), ("torch", "fp32")))
    asked = int8(config, tmp_path, accuracy)
    assert kinds(available(asked))[0] == ("openvino", "int8")
    backend, said = select(asked)
    assert backend.name == "torch"
    assert f"openvino int8 {reason}" in said


def test_auto_does_not_hide_a_broken_artefact(config, tmp_path):
    pytest.importorskip("openvino")
    good = Accuracy(data="a", pictures=40, threshold=0.9, reference={"iou": 0.6}, artefact={"iou": 0.6})
    with pytest.raises(BackendError, match="openvino cannot run lively"):
        select(int8(config, tmp_path, good))


def test_default_on_cpu_is_the_int8_artefact_next_to_the_weights():
    pytest.importorskip("openvino")
    shipped = DetectConfig(weights="edge", device="cpu", threads=1)
    backend, _ = select(shipped)
    assert (backend.name, backend.precision) == ("openvino", "int8")
    assert select(msgspec.structs.replace(shipped, precision="fp32")).backend.precision == "fp32"
    assert make_backend(msgspec.structs.replace(shipped, backend="torch")).precision == "fp32"


def test_auto_skips_artefact_of_other_weights(config, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(choice, "_ON_CPU", (("openvino", "int8"), ("torch", "fp32")))
    good = Accuracy(data="a", pictures=40, threshold=0.9, reference={"iou": 0.6}, artefact={"iou": 0.6})
    made = described_artefact(config.weights, format="openvino", precision="int8", accuracy=good)
    stale = msgspec.structs.replace(made, weights_sha256="0" * 64)
    weights = tmp_path / "own.safetensors"
    for suffix in (".safetensors", ".json"):
        shutil.copy(Path(config.weights).with_suffix(suffix), weights.with_suffix(suffix))
    contents = {"int8.xml": b"no model", "int8.bin": b""}
    artefact.write(weights.with_name(f"{weights.stem}-openvino-int8.json"), stale, contents)
    backend, said = select(msgspec.structs.replace(config, weights=str(weights), precision=None))
    assert backend.name == "torch"
    assert "openvino int8 fails (detect.artefact: " in said
    assert "made from" in said


def test_unusable_configured_artefact_is_reported(config, tmp_path, monkeypatch):
    without(monkeypatch, "openvino", "onnxruntime")
    backend, said = select(int8(config, tmp_path, None))
    assert backend.name == "torch"
    assert "int8.json cannot run here" in said


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"backend": "torch", "precision": "int8"}, "detect.precision: the torch backend runs fp32 or bf16, not int8"),
        ({"backend": "openvino", "precision": "int8"}, "detect.precision: int8 needs detect.artefact"),
        ({"backend": "onnx", "precision": "bf16"}, "detect.precision: the onnx backend runs fp32, not bf16"),
        ({"backend": "auto", "artefact": "absent.json"}, "detect.artefact: absent.json: No such file"),
        ({"backend": "auto", "device": "tpu9"}, "detect.device: 'tpu9' cannot be used"),
    ],
)
def test_impossible_settings_raise_one_line_error(config, settings, line):
    if settings["backend"] != "auto":
        pytest.importorskip({"onnx": "onnxruntime"}.get(settings["backend"], settings["backend"]))
    with pytest.raises(BackendError) as caught:
        select(msgspec.structs.replace(config, **settings))
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("name", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino"), ("tensorrt", "tensorrt")]
)
def test_missing_package_error_says_what_to_install(config, monkeypatch, name, package):
    without(monkeypatch, package)
    with pytest.raises(BackendError, match=rf"detect\.backend: {name} cannot be loaded.*pip install {package}"):
        make_backend(msgspec.structs.replace(config, backend=name))


def test_the_edge_configuration_runs_the_shipped_int8_network():
    pytest.importorskip("openvino")
    backend, said = select(load(CONFIGS / "edge.yaml").detect)
    assert (backend.name, backend.precision, backend.manifest.name) == ("openvino", "int8", "edge")
    assert "fastest here that agrees with torch" in said
