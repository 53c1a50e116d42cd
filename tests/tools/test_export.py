from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.detect.backends import artefact, make_backend
from pipeline.detect.backends.parity import TOLERANCES, rendered
from pipeline.detect.config import DetectConfig
from tests.detect.conftest import change_weights, weights  # noqa: F401 - fixtures
from tools.export import calibration_frames, export, main, portable_addresses

LIBRARY = {"onnx": "onnxruntime", "openvino": "openvino"}


@pytest.fixture
def data(tmp_path):
    """Four rendered frames with masks where they are brightest, in BasicIRSTD layout."""
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for k, picture in enumerate([*rendered((64, 96)), rendered((48, 80))[0]]):
        cv2.imwrite(str(tmp_path / "set" / "images" / f"{k}.png"), picture)
        mask = (picture >= np.quantile(picture, 0.999)).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / "set" / "masks" / f"{k}.png"), mask)
    (tmp_path / "set" / "test.txt").write_text("0\n3\n")
    return tmp_path / "set"


@pytest.mark.parametrize("fmt", ["onnx", "openvino"])
def test_an_exported_network_runs_and_tells_how_close_it_is(weights, tmp_path, data, fmt):  # noqa: F811
    pytest.importorskip(LIBRARY[fmt])
    path = export(weights, fmt, tmp_path / "out", truth=(data, "test.txt"))
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


def test_int8_is_measured_and_runs(weights, tmp_path, data, capfd):  # noqa: F811
    pytest.importorskip("nncf")
    path = export(weights, "openvino-int8", tmp_path, calibrate=[str(data)], truth=(data, "test.txt"))
    made = artefact.read(path)
    assert made.precision == "int8"
    assert made.calibration == f"2 pictures of {data.name}"  # pictures used for evaluation are excluded
    assert made.parity["truth"].max_logit > 1e-3  # zero would mean that nothing was quantised
    assert made.accuracy.pictures == 2
    config = DetectConfig(weights=weights, backend="openvino", precision="int8", artefact=str(path), device="cpu")
    assert make_backend(config).precision == "int8"
    # One quantisation step of the first convolution or of the heads would flip a pixel, so they stay unquantised.
    text = (tmp_path / "lively-openvino-int8.xml").read_text()
    assert text.count('type="FakeQuantize"') > 20


def test_changes_beside_the_pictures_are_shown_to_the_quantiser(change_weights, tmp_path, data):  # noqa: F811
    pytest.importorskip("nncf")
    (data / "changes").mkdir()
    for k, shape in enumerate([(64, 96)] * 3 + [(48, 80)]):
        change = np.random.default_rng(k).integers(0, 256, shape, dtype=np.uint8)
        cv2.imwrite(str(data / "changes" / f"{k}.png"), change)
    frames = calibration_frames([str(data)], [])
    assert [change.shape for _, change in frames] == [(64, 96)] * 3 + [(48, 80)]
    made = artefact.read(export(change_weights, "openvino-int8", tmp_path / "out", calibrate=[str(data)]))
    assert made.input.normalisation.change
    assert made.parity["calibration frames"].pictures == 4
    assert made.parity["calibration frames"].iou > TOLERANCES["int8"].iou  # on noise maps, which have no components


def test_frames_are_spread_evenly_and_exclude_evaluated_pictures(data):
    everything = calibration_frames([str(data)], [])
    assert [f.shape for f, _ in everything] == [(64, 96)] * 3 + [(48, 80)]
    assert everything[0][0].dtype == np.uint16
    assert all(change is None for _, change in everything)
    some = calibration_frames([str(data / "images")], [(data / "images" / "0.png").resolve()])
    assert len(some) == 3
    assert np.array_equal(some[0][0], everything[1][0])
    recorded = calibration_frames(["test://sky?frames=5&width=64&height=48", str(data)], [])
    assert [f.shape for f, _ in recorded] == [(48, 64)] * 5 + [(64, 96)] * 3 + [(48, 80)]


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
def test_a_picture_too_small_for_the_network_is_named_before_the_work(weights, tmp_path, data, capsys, words):  # noqa: F811
    for folder in ("images", "masks"):
        cv2.imwrite(str(data / folder / "3.png"), np.zeros((20, 40), np.uint8))
    words = [*words, str(data), *(["--split", "test.txt"] if words == ["--truth"] else [])]
    assert main(["--weights", weights, "--format", "onnx", "--out", str(tmp_path / "out"), *words]) == 2
    assert "set/images/3.png: 40x20 px, but networks need 32x32\n" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_manifests_hold_relative_paths_only(tmp_path):
    one, two = tmp_path / "stills", tmp_path / "video" / "moving"
    for folder in (one, two):
        folder.mkdir(parents=True)
    scene = "test://sky?frames=5"
    assert portable_addresses([str(one), scene, str(two)]) == ["stills", scene, "video/moving"]
    assert portable_addresses([str(two)]) == ["moving"]
    assert portable_addresses([scene]) == [scene]
