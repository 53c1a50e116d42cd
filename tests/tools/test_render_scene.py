import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from pipeline.capture.scene import Scene, SceneSpec
from tests.conftest import ROOT
from tools.render_scene import main

URL = "test://crossing?seed=3&width=96&height=64&frames=6"


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("format_", "suffix"), [("png16", "png"), ("tiff16", "tiff")])
def test_images_are_bit_exact(tmp_path, format_, suffix):
    assert main([URL, "--out", str(tmp_path / "new" / "scene"), "--format", format_]) == 0
    scene = Scene(SceneSpec.from_url(URL))
    paths = sorted((tmp_path / "new" / "scene" / "frames").iterdir())
    assert [p.name for p in paths] == [f"{k:06d}.{suffix}" for k in range(6)]
    for k, path in enumerate(paths):
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), scene.frame(k))


def test_ground_truth_is_written_beside_the_frames(tmp_path):
    assert main([URL, "--out", str(tmp_path)]) == 0
    scene = Scene(SceneSpec.from_url(URL))
    truth = rows(tmp_path / "truth.csv")
    assert list(truth[0]) == ["frame", "id", "x", "y", "w", "h", "snr", "visible"]
    expected = [(k, t) for k in range(6) for t in scene.truth(k)]
    assert len(truth) == len(expected) > 0
    for row, (k, target) in zip(truth, expected, strict=True):
        assert (int(row["frame"]), int(row["id"]), bool(int(row["visible"]))) == (k, target.id, target.visible)
        for name in ("x", "y", "w", "h", "snr"):
            assert float(row[name]) == pytest.approx(getattr(target, name), abs=1e-4)
    ego = rows(tmp_path / "ego.csv")
    assert [tuple(float(row[c]) for c in ("a", "b", "tx", "c", "d", "ty")) for row in ego] == [
        scene.ego(k) for k in range(6)
    ]
    facts = json.loads((tmp_path / "scene.json").read_text())
    assert SceneSpec(**facts) == scene.spec


def test_video_decodes_to_the_stated_stretch(tmp_path):
    assert main([URL, "--out", str(tmp_path), "--format", "mp4"]) == 0
    low, high = json.loads((tmp_path / "scene.json").read_text())["stretch"]
    scene = Scene(SceneSpec.from_url(URL))
    video = cv2.VideoCapture(str(tmp_path / "video.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == 25
    for k in range(6):
        ok, picture = video.read()
        assert ok
        expected = np.clip((scene.frame(k) - low) * (255 / (high - low)), 0, 255)
        assert np.abs(picture[..., 0] - expected).mean() < 8
    assert not video.read()[0]


def test_a_used_folder_is_refused_without_overwrite(tmp_path, capsys):
    assert main([URL, "--out", str(tmp_path)]) == 0
    (tmp_path / "notes.txt").write_text("mine")
    before = (tmp_path / "frames" / "000000.png").read_bytes()
    assert main([URL.replace("seed=3", "seed=4"), "--out", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert (tmp_path / "frames" / "000000.png").read_bytes() == before
    shorter = URL.replace("frames=6", "frames=2").replace("seed=3", "seed=4")
    assert main([shorter, "--out", str(tmp_path), "--overwrite"]) == 0
    assert len(list((tmp_path / "frames").iterdir())) == 2
    assert (tmp_path / "frames" / "000000.png").read_bytes() != before
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_out_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([URL, "--out", str(tmp_path / "file"), "--overwrite"]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_out_that_cannot_be_made_is_named(capsys):
    assert main([URL, "--out", "/dev/null/scene"]) == 2
    assert capsys.readouterr().err == "tools.render_scene: error: /dev/null/scene: Not a directory\n"


def test_wrong_scene_is_one_line_and_exit_code_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tools.render_scene", "test://moon", "--out", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'moon'" in done.stderr
    assert not (tmp_path / "out").exists()
