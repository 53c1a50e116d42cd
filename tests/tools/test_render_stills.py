import cv2
import numpy as np
import pytest

from pipeline.capture.scene import Scene
from tools.render_stills import FRAMES, MOVING_FRAMES, _spread, draw_spec, main, masks, truth
from training.data import names, read_sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("stills") / "new"
    assert main(["--out", str(out), "--scenes", "2", "--per-scene", "2", "--seed", "70"]) == 0
    return out


def test_layout_is_what_training_reads(folder):
    listed = names(folder, "img_idx/train.txt")
    assert listed == ["sky_70_020", "sky_70_280", "sea_71_020", "sea_71_280"]
    assert sorted(listed) == names(folder, None)
    for name in listed:
        sample = read_sample(folder, name)
        assert sample.picture.dtype == np.uint16
        assert sample.picture.shape == sample.mask.shape == (256, 320)
        assert sample.mask.any()
    assert set(np.unique(cv2.imread(str(folder / "masks" / f"{listed[0]}.png"), cv2.IMREAD_UNCHANGED))) == {0, 255}


def test_pictures_are_those_of_the_scene(folder):
    scene = Scene(draw_spec(1, 70, (4.0, 30.0)))
    stored = cv2.imread(str(folder / "images" / "sea_71_280.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, scene.frame(280))


def test_moving_scenes_come_with_change_pictures(tmp_path):
    words = ["--scenes", "1", "--per-scene", "3", "--seed", "75", "--snr", "12", "14", "--moving"]
    assert main(["--out", str(tmp_path), *words]) == 0
    listed = names(tmp_path, "img_idx/train.txt")
    assert listed == ["sky_75_008", "sky_75_031", "sky_75_055"]
    samples = [read_sample(tmp_path, name, changes="changes") for name in listed]
    for sample in samples[1:]:
        assert np.median(sample.change[sample.mask > 0]) > 4 * np.median(sample.change)


@pytest.mark.parametrize("index", [0, 4])
def test_a_mask_marks_every_visible_target_where_it_is(index):
    scene = Scene(draw_spec(index, 70, (4.0, 30.0)))
    mask = masks(scene, 150)
    visible = [t for t in scene.truth(150) if t.visible]
    assert visible
    for target in visible:
        y, x = round(target.y), round(target.x)
        assert mask[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].any(), target
    # No pixel is marked away from the targets.
    rows, columns = np.nonzero(mask)
    for y, x in zip(rows, columns, strict=True):
        assert any(abs(x - t.x) <= t.w + 2 and abs(y - t.y) <= t.h + 2 for t in visible)


def test_stuck_pixels_are_ignored_and_targets_are_not():
    scene = next(s for s in (Scene(draw_spec(index, 70, (4.0, 30.0))) for index in range(20)) if s.stuck().any())
    frames = [scene.frame(k) for k in (20, 40, 60)]
    still = (frames[0] == frames[1]) & (frames[1] == frames[2]) & np.isin(frames[0], [0, 2**14 - 1])
    np.testing.assert_array_equal(scene.stuck(), still)
    mask, ignored = truth(scene, 20)
    assert set(np.unique(ignored)) == {0, 255}
    assert ((mask > 0) | (ignored > 0))[still].all()
    assert not (mask & ignored).any()
    around = cv2.dilate(still.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert not ignored[~around].any()


def test_scenes_differ_and_repeat():
    specs = [draw_spec(index, 70, (4.0, 30.0)) for index in range(20)]
    assert len(set(specs)) == 20
    assert specs == [draw_spec(index, 70, (4.0, 30.0)) for index in range(20)]
    assert all(4 <= spec.snr <= 30 for spec in specs)
    assert {spec.name for spec in specs} == {"sky", "sea", "ground", "crossing", "demo"}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file" / "below"), "--scenes", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tools.render_stills: error: {tmp_path}/file")
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", ["--scenes 0", "--per-scene 0", "--seed -1", "--snr 0 5", "--snr 9 5"])
def test_numbers_that_make_no_pictures_are_refused(tmp_path, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path / "out"), *words.split()])
    assert stop.value.code == 2
    assert f"argument {words.split()[0]}:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("words", "most"), [([], 261), (["--moving"], 48)])
def test_no_still_is_asked_for_twice(tmp_path, capsys, words, most):
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path), "--per-scene", str(most + 1), *words])
    assert f"--per-scene: a scene has only {most} frames" in capsys.readouterr().err
    assert len(set(_spread(MOVING_FRAMES if words else FRAMES, most))) == most


def test_a_picture_that_cannot_be_written_ends_the_tool(tmp_path, capsys):
    full = tmp_path / "images" / "sky_70_280.png"
    full.parent.mkdir()
    full.symlink_to("/dev/full")
    assert main(["--out", str(tmp_path), "--scenes", "1", "--per-scene", "2", "--seed", "70"]) == 2
    assert capsys.readouterr().err.endswith(f"tools.render_stills: error: {full}: No space left on device\n")
    assert not (tmp_path / "img_idx" / "train.txt").exists()
