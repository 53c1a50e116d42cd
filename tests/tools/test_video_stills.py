"""Stills extracted from labelled videos."""

import cv2
import numpy as np
import pytest

from pipeline.capture.scene import SceneSpec
from tools.render_scene import render
from tools.video_stills import main, truth
from training.config import SourceConfig
from training.data import load_sources, read_sample


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two folders of 8-bit frames with labels."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (folder / name).mkdir()
        rows = ["frame,x,y,w,h"]
        for k in range(9):
            picture = rng.normal(80, 2, (64, 64))
            picture[20 + k : 23 + k, 30:33] += 80
            cv2.imwrite(str(folder / name / f"{k:03d}.png"), np.clip(picture, 0, 255).astype(np.uint8))
            if k not in (4, 8):
                rows.append(f"{k},26,{16 + k},11,11")
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_labelled_frames_become_pictures_masks_and_ignore_masks(videos, tmp_path):
    (tmp_path / "held.txt").write_text("two\n")
    arguments = ["--data", str(videos), "--out", str(tmp_path / "out"), "--every", "2"]
    assert main([*arguments, "--held-out", str(tmp_path / "held.txt")]) == 0
    group = videos.name
    kept = [f"{group}_{name}_{k:05d}" for name in ("one", "two") for k in (0, 2, 6)]  # 4 and 8 have no label
    out = tmp_path / "out"
    assert (out / "img_idx/train.txt").read_text().split() == kept
    assert (out / "img_idx/validation.txt").read_text().split() == kept[3:]
    sample = read_sample(out, kept[1], ignored="ignored")
    expected = np.zeros((64, 64), np.uint8)
    expected[22:25, 30:33] = 1
    np.testing.assert_array_equal(sample.mask, expected)
    box = np.zeros_like(expected)
    box[18:29, 26:37] = 1
    np.testing.assert_array_equal(sample.ignored, box - expected)
    np.testing.assert_array_equal(sample.picture, cv2.imread(str(videos / "one" / "002.png"), cv2.IMREAD_UNCHANGED))
    source = SourceConfig(folder="out", ignored="ignored", validation="img_idx/validation.txt")
    training, validation = load_sources(tmp_path, [source])
    assert [s.name for s in training[0]] == kept[:3]
    assert [s.name for s in validation["out"]] == kept[3:]


def test_changes_reveal_a_target_that_a_single_frame_does_not(tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "v" / "dim").mkdir(parents=True)
    rows = ["frame,x,y,w,h"]
    scenery = rng.normal(90, 12, (96, 96))  # stationary clutter that hides the target in a single frame
    for k in range(20):
        picture = scenery + rng.normal(0, 1, scenery.shape)
        picture[20 + 3 * k, 40] += 30
        cv2.imwrite(str(tmp_path / "v" / "dim" / f"{k:03d}.png"), np.clip(picture, 0, 255).astype(np.uint8))
        rows.append(f"{k},36,{16 + 3 * k},9,9")
    (tmp_path / "v" / "dim.csv").write_text("\n".join(rows) + "\n")
    assert main(["--data", str(tmp_path / "v"), "--out", str(tmp_path / "out"), "--every", "1"]) == 0
    samples = [
        read_sample(tmp_path / "out", f"v_dim_{k:05d}", ignored="ignored", changes="changes") for k in range(12, 20)
    ]
    for k, sample in enumerate(samples, 12):
        assert sample.change[20 + 3 * k, 40] > np.quantile(sample.change, 0.995)
        assert sample.mask[20 + 3 * k, 40] == 1
    none = np.zeros_like(samples[0].change)
    single = [truth(s.picture, none, [(40.0, 20.0 + 3 * k, 9.0, 9.0)])[0].any() for k, s in enumerate(samples, 12)]
    assert sum(single) < 4


def test_a_box_without_a_clear_target_is_ignored_whole():
    picture = np.random.default_rng(0).normal(80, 5, (64, 64)).astype(np.uint8)
    mask, ignored = truth(picture, np.zeros_like(picture), [(30.0, 20.0, 11.0, 9.0)])
    assert not mask.any()
    rows, columns = np.nonzero(ignored)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (21, 39, 12, 28)  # the box and 4 px more


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--held-out", "LIST"], "LIST: not below"),
        (["--held-out", "gone.txt"], "gone.txt: No such file"),
        (["--every", "0"], "--every"),
    ],
)
def test_bad_input_is_one_line(videos, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "LIST").write_text("three\n")
    try:
        code = main(["--data", str(videos), "--out", str(tmp_path / "out"), *arguments])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_frames_of_16_bit_are_refused(tmp_path, capsys):
    render(SceneSpec.from_url("test://demo?width=96&height=96&frames=3&seed=1"), tmp_path)
    (tmp_path / "frames.csv").write_text("frame,x,y,w,h\n0,10,10,5,5\n")
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--every", "1"]) == 2
    assert "8 bit" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_ends_the_tool(videos, tmp_path, capsys):
    full = tmp_path / "masks" / f"{videos.name}_two_00006.png"
    full.parent.mkdir()
    full.symlink_to("/dev/full")
    assert main(["--data", str(videos), "--out", str(tmp_path), "--every", "2"]) == 2
    assert capsys.readouterr().err.endswith(f"tools.video_stills: error: {full}: No space left on device\n")
    assert not (tmp_path / "img_idx" / "train.txt").exists()


def test_a_list_of_names_that_is_no_text_is_named(videos, tmp_path, capsys):
    (tmp_path / "held.txt").write_bytes(b"\xff\x00")
    assert main(["--data", str(videos), "--out", str(tmp_path / "out"), "--held-out", str(tmp_path / "held.txt")]) == 2
    assert capsys.readouterr().err.endswith("held.txt: not a text file of names\n")
