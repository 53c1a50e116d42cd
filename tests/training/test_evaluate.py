import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import nets
from nets.manifest import Input, Manifest, Training, Validation
from nets.normalisation import FrameZScore
from tests.conftest import ROOT
from tests.training.synthetic import write_set
from training.evaluate import PROTOCOLS, main
from training.evaluate import evaluate as run_evaluation
from training.gallery import Gallery


def bright_squares() -> nn.Module:
    """Return a network whose logit is the z-score minus three: head 0 passes the input through, all else is zero."""
    network = nets.build("mshnet").eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        # The first decoder sees the skip unchanged: every block passes relu(shortcut), so the stem carries z and -z.
        network.stem.weight[0] = 1.0
        for block in (network.encoders[0][0], network.decoders[0][0]):
            for norm in (block.bn1, block.bn2):
                norm.weight.fill_(1.0)
        shortcut, norm = network.decoders[0][0].shortcut
        shortcut.weight[0, 0] = 1.0
        norm.weight.fill_(1.0)
        network.heads[0].weight[0, 0] = 1.0
        network.fuse.weight[0, 0, 1, 1] = 1.0
        network.fuse.bias.fill_(-3.0)
    return network


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "squares.safetensors"
    manifest = Manifest(
        name="squares",
        architecture="mshnet",
        options={},
        sha256="0" * 64,
        input=Input(channels=1, normalisation=FrameZScore()),
        threshold=0.6,
        training=Training(data={}, split="", recipe="", seed=0, commit="", steps=0),
        validation=Validation(protocol="", split="", metrics={}),
    )
    nets.save(path, bright_squares(), manifest)
    return path


@pytest.fixture
def data(tmp_path):
    write_set(tmp_path / "tiny", pictures=3)
    return tmp_path / "tiny"


def evaluate(weights, data, *more):
    return main(["--weights", str(weights), "--data", str(data), "--split", "img_idx/train.txt", *more])


def test_a_network_that_finds_everything(weights, data, tmp_path, capsys):
    assert evaluate(weights, data, "--json", str(tmp_path / "out.json"), "--threads", "1") == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["protocol"], report["threshold"], report["weights"]["name"]) == ("strict", 0.6, "squares")
    figures = report["metrics"]
    assert figures["pictures"] == 3
    assert figures["targets"] >= 3
    assert (figures["iou"], figures["niou"], figures["pd"], figures["fa"]) == (1, 1, 1, 0)
    out = capsys.readouterr().out
    assert "| tiny | 3 |" in out
    assert "squares: strict protocol, threshold 0.6" in out


def test_froc_points_rise_with_falling_threshold(weights, data, tmp_path):
    assert evaluate(weights, data, "--json", str(tmp_path / "out.json")) == 0
    points = json.loads((tmp_path / "out.json").read_text())["froc"]
    thresholds = [point["threshold"] for point in points]
    assert thresholds == sorted(thresholds)
    assert 0.6 in thresholds
    assert all(set(point) == {"threshold", "pd", "fa", "false_alarms_per_picture", "iou"} for point in points)
    assert points[0]["false_alarms_per_picture"] >= points[-1]["false_alarms_per_picture"]
    assert points[-1]["iou"] <= 1


def test_threshold_of_the_command_line(weights, data, tmp_path):
    assert evaluate(weights, data, "--threshold", "0.999999", "--json", str(tmp_path / "out.json")) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["threshold"] == 0.999999
    assert report["metrics"]["pd"] == 0


def test_legacy_protocol_works_at_256_on_unbinarised_masks(weights, tmp_path):
    """At 512x512, the 1x1 mask between the sampled pixels vanishes, and a soft mask does not count as a target."""
    write_set(tmp_path / "tiny", pictures=1, size=512)
    picture, mask = np.full((512, 512), 80, np.uint8), np.zeros((512, 512), np.uint8)
    picture[100:112, 200:212], mask[100:112, 200:212] = 200, 255
    mask[20, 20] = 255
    mask[301, 301] = 200
    cv2.imwrite(str(tmp_path / "tiny/images/p0.png"), picture)
    cv2.imwrite(str(tmp_path / "tiny/masks/p0.png"), mask)
    assert evaluate(weights, tmp_path / "tiny", "--protocol", "legacy", "--json", str(tmp_path / "legacy.json")) == 0
    assert evaluate(weights, tmp_path / "tiny", "--json", str(tmp_path / "strict.json")) == 0
    legacy, strict = (json.loads((tmp_path / f"{p}.json").read_text()) for p in ("legacy", "strict"))
    assert (legacy["threshold"], strict["threshold"]) == (0.5, 0.6)
    assert (legacy["metrics"]["targets"], strict["metrics"]["targets"]) == (1, 3)
    # The filter spreads an eighth of the contrast into the ring around the 6x6 target, except its corners, which is
    # still above the threshold. The soft pixel belongs to the union of IoU only, not to that of nIoU.
    assert legacy["metrics"]["iou"] == pytest.approx(36 / (60 + 1))
    assert legacy["metrics"]["niou"] == pytest.approx(36 / 60)
    assert legacy["metrics"]["pd"] == 1
    assert strict["metrics"]["iou"] == pytest.approx(144 / 146)


@pytest.mark.parametrize("protocol", ["strict", "legacy"])
def test_masks_of_0_and_1_are_refused(weights, data, capsys, protocol):
    mask = cv2.imread(str(data / "masks/p1.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(data / "masks/p1.png"), mask // 255)
    assert evaluate(weights, data, "--protocol", protocol) == 2
    assert "masks/p1.png: brightest value 1, but a mask of its bit depth has 0 and 255" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["strict", "legacy"])
def test_a_mask_of_another_size_is_refused(weights, data, capsys, protocol):
    cv2.imwrite(str(data / "masks/p1.png"), np.zeros((32, 48), np.uint8))
    assert evaluate(weights, data, "--protocol", protocol) == 2
    line = f"training.evaluate: {data}/masks/p1.png: 48x32 mask for a picture of another size\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("protocol", ["strict", "legacy"])
def test_sheets_and_plot(weights, data, tmp_path, protocol):
    picture = cv2.imread(str(data / "images/p1.png"), cv2.IMREAD_GRAYSCALE)
    picture[40:44, 40:44] = 255  # a false alarm
    cv2.imwrite(str(data / "images/p1.png"), picture)
    sheets, plot = tmp_path / "new" / "sheets", tmp_path / "froc.png"
    assert evaluate(weights, data, "--protocol", protocol, "--sheets", str(sheets), "--plot", str(plot)) == 0
    assert sorted(path.name for path in sheets.iterdir()) == ["best.png", "worst.png"]
    best, worst = (cv2.imread(str(sheets / f"{name}.png")) for name in ("best", "worst"))
    assert best.shape == worst.shape
    assert (best != worst).any()
    assert cv2.imread(str(plot)).std() > 10


def test_a_gallery_sees_every_picture_as_it_is_scored(weights, data):
    gallery = Gallery()
    report = run_evaluation(str(weights), data, "img_idx/train.txt", "strict", None, torch.device("cpu"), gallery)
    assert sorted(name for _, name, _ in gallery.best) == ["p0", "p1", "p2"]
    assert sum(iou for iou, _, _ in gallery.best) / 3 == report["metrics"]["niou"]


def test_sheets_of_a_set_without_targets_are_refused(weights, data, tmp_path, capsys):
    for k in range(3):
        cv2.imwrite(str(data / f"masks/p{k}.png"), np.zeros((64, 64), np.uint8))
    assert evaluate(weights, data, "--sheets", str(tmp_path / "sheets")) == 2
    assert "sheets: no sheets, because no picture contains a target" in capsys.readouterr().err


def test_a_plot_without_matplotlib_is_refused_before_the_work(weights, data, tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "training.froc", raising=False)
    monkeypatch.delattr("training.froc", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert evaluate(weights, data, "--plot", str(tmp_path / "x.png"), "--json", str(tmp_path / "x.json")) == 2
    assert capsys.readouterr().err == "training.evaluate: --plot: matplotlib is missing; pip install '.[train]'\n"
    assert not (tmp_path / "x.json").exists()


def test_the_split_may_also_be_a_path_of_its_own(weights, data, tmp_path, capsys):
    (tmp_path / "one.txt").write_text("p2\n")
    arguments = ["--weights", str(weights), "--data", str(data), "--split", str(tmp_path / "one.txt")]
    assert main(arguments) == 0
    assert "| tiny | 1 |" in capsys.readouterr().out


def test_a_set_has_a_name_where_its_folder_is_given_as_a_dot(weights, data, capsys, monkeypatch):
    monkeypatch.chdir(data)
    assert evaluate(weights, ".") == 0
    assert "| tiny | 3 |" in capsys.readouterr().out


@pytest.mark.parametrize("protocol", ["strict", "legacy"])
def test_the_last_picture_is_checked_before_the_first_is_scored(weights, data, capsys, monkeypatch, protocol):
    (data / "masks/p2.png").unlink()
    monkeypatch.setattr("training.predict.probabilities", lambda *_: pytest.fail("a picture was scored"))
    assert evaluate(weights, data, "--protocol", protocol) == 2
    assert "masks/p2.png: no readable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--weights", "nonesuch"], 4, "no shipped weights named 'nonesuch'"),
        (["--data", "/nonexistent"], 2, "/nonexistent/img_idx/train.txt: No such file"),
        (["--split", "other.txt"], 2, "other.txt: No such file"),
        (["--sheets", "/dev/null/sheets"], 2, "/dev/null/sheets: Not a directory"),
        (["--plot", "/nonexistent/froc.png"], 2, "/nonexistent/froc.png: No such file"),
        (["--json", "/nonexistent/out.json"], 2, "/nonexistent/out.json: No such file"),
    ],
)
def test_wrong_usage_is_one_line_before_the_work(weights, data, capsys, more, code, message):
    assert evaluate(weights, data, *more) == code
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("training.evaluate: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_picture_too_small_for_the_network_is_named(weights, data, capsys):
    cv2.imwrite(str(data / "images/p1.png"), np.zeros((20, 40), np.uint8))
    cv2.imwrite(str(data / "masks/p1.png"), np.zeros((20, 40), np.uint8))
    assert evaluate(weights, data) == 2
    assert "images/p1.png: 40x20 px, but networks need 32x32" in capsys.readouterr().err


def test_as_a_program(weights, data):
    command = [sys.executable, "-m", "training.evaluate", "--weights", str(weights), "--data", str(data)]
    command += ["--split", "img_idx/train.txt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("| set | pictures |")


def test_a_probability_at_the_threshold_is_a_detection_in_the_strict_protocol_only():
    half = np.full(1, 0.5, np.float32)
    assert {name: bool(above(half, 0.5)[0]) for name, (_, _, above) in PROTOCOLS.items()} == {
        "strict": True,
        "legacy": False,
    }
