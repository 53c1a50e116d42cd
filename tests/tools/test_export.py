from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.detect.backends import artefact, make_backend
from pipeline.detect.backends.parity import TOLERANCES
from pipeline.detect.config import DetectConfig
from tests.detect.conftest import change_weights, weights  # noqa: F401 - fixtures
from tools.calibration import calibration_frames
from tools.export import export, main

LIBRARY = {"onnx": "onnxruntime", "openvino": "openvino"}


@pytest.mark.parametrize("fmt", ["onnx", "openvino"])
def test_an_exported_network_runs_and_tells_how_close_it_is(weights, tmp_path, stills, fmt):  # noqa: F811
    pytest.importorskip(LIBRARY[fmt])
    path = export(weights, fmt, tmp_path / "out", truth=(stills, "test.txt"))
    assert path.name == f"lively-{fmt}.json"
    made = artefact.read(path)
    assert made.parity.keys() == {"rendered", "truth"}
    assert made.parity["truth"].pictures == 2
    for parity in made.parity.values():
        assert 0 < parity.max_logit < TOLERANCES["fp32"].max_logit
    assert made.accuracy.pictures == 2
    assert made.accuracy.iou_loss == pytest.approx(0, abs=1e-3)
    assert made.accuracy.reference["iou"] > 0

    settings = {"weights": weights, "backend": fmt, "device": "cpu", "threads": 1}
    with_file, without = (make_backend(DetectConfig(**settings, artefact=a)) for a in (str(path), None))
    picture = np.random.default_rng(0).normal(100, 20, (1, 50, 70)).astype(np.uint8)
    from pipeline.preprocess.intensity import measure

    intensity = [measure(picture[0], with_file.manifest.input.normalisation)]
    assert np.array_equal(with_file.infer(picture, intensity), without.infer(picture, intensity))


def test_int8_is_measured_and_runs(weights, tmp_path, stills, capfd):  # noqa: F811
    pytest.importorskip("nncf")
    path = export(weights, "openvino-int8", tmp_path, calibrate=[str(stills)], truth=(stills, "test.txt"))
    made = artefact.read(path)
    assert made.precision == "int8"
    assert made.calibration == f"2 pictures of {stills.name}"  # pictures used for evaluation are excluded
    assert made.parity["truth"].max_logit > 1e-3  # zero would mean that nothing was quantised
    assert made.accuracy.pictures == 2
    config = DetectConfig(weights=weights, backend="openvino", precision="int8", artefact=str(path), device="cpu")
    assert make_backend(config).precision == "int8"
    # One quantisation step of the first convolution or of the heads would flip a pixel, so they stay unquantised.
    text = (tmp_path / "lively-openvino-int8.xml").read_text()
    assert text.count('type="FakeQuantize"') > 20


def test_changes_beside_the_pictures_are_shown_to_the_quantiser(change_weights, tmp_path, stills):  # noqa: F811
    pytest.importorskip("nncf")
    (stills / "changes").mkdir()
    for k, shape in enumerate([(64, 96)] * 3 + [(48, 80)]):
        change = np.random.default_rng(k).integers(0, 256, shape, dtype=np.uint8)
        cv2.imwrite(str(stills / "changes" / f"{k}.png"), change)
    frames = calibration_frames([str(stills)], [])
    assert [change.shape for _, change in frames] == [(64, 96)] * 3 + [(48, 80)]
    made = artefact.read(export(change_weights, "openvino-int8", tmp_path / "out", calibrate=[str(stills)]))
    assert made.input.normalisation.change
    assert made.parity["calibration frames"].pictures == 4
    assert made.parity["calibration frames"].iou > TOLERANCES["int8"].iou  # on noise maps, which have no components


def test_figures_of_a_set_without_targets_are_not_told_as_zero(weights, tmp_path, stills, capsys):  # noqa: F811
    pytest.importorskip("onnxruntime")
    for k in (0, 3):
        mask = stills / "masks" / f"{k}.png"
        cv2.imwrite(str(mask), np.zeros_like(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)))
    words = ["--weights", weights, "--format", "onnx", "--out", str(tmp_path / "out")]
    assert main([*words, "--truth", str(stills), "--split", "test.txt"]) == 0
    assert "set pd: - -> -\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line", "code"),
    [
        (["--format", "openvino-int8"], "--calibrate: int8 needs frames", 2),
        (["--format", "openvino-int8", "--calibrate", "/absent"], "/absent", 3),
        (["--format", "onnx", "--weights", "nothing"], "no shipped weights named 'nothing'", 4),
        (["--format", "onnx", "--truth", "/absent", "--split", "x.txt"], "/absent/x.txt: No such file", 2),
        (["--format", "tensorrt"], "tensorrt", 4),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(weights, tmp_path, capsys, arguments, line, code):  # noqa: F811
    words = ["--weights", weights, "--out", str(tmp_path / "out"), *arguments]
    assert main(words) == code
    error = capsys.readouterr().err
    assert error.startswith("tools.export: error: ")
    assert line in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--truth"], ["--calibrate"]])
def test_a_picture_too_small_for_the_network_is_named_before_the_work(weights, tmp_path, stills, capsys, words):  # noqa: F811
    for folder in ("images", "masks"):
        cv2.imwrite(str(stills / folder / "3.png"), np.zeros((20, 40), np.uint8))
    words = [*words, str(stills), *(["--split", "test.txt"] if words == ["--truth"] else [])]
    assert main(["--weights", weights, "--format", "onnx", "--out", str(tmp_path / "out"), *words]) == 2
    assert "set/images/3.png: 40x20 px, but networks need 32x32\n" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
