from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import ConfigError
from tests.conftest import real_data
from tests.training.synthetic import write_set
from training.config import SourceConfig
from training.data import held_out, load_sources, names, read_sample, split_names, split_sources, spread
from training.metrics.strict import components


@pytest.fixture
def folder(tmp_path):
    write_set(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_names_come_from_the_split_file_or_the_folder(folder):
    (folder / "img_idx" / "few.txt").write_text("p3\np1\n")
    assert names(folder, "img_idx/few.txt") == ["p3", "p1"]
    assert names(folder, None) == sorted(f"p{k}" for k in range(12))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_names_may_contain_spaces_and_lists_any_line_ends(folder, end):
    (folder / "img_idx" / "few.txt").write_bytes(b"\xef\xbb\xbf" + end.join([b"p 3", b"", b" p1\t", b"  ", b"p2"]))
    assert names(folder, "img_idx/few.txt") == ["p 3", "p1", "p2"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_sample_keeps_its_bit_depth(tmp_path, dtype):
    write_set(tmp_path / "set", pictures=1, dtype=dtype)
    sample = read_sample(tmp_path / "set", "p0")
    assert sample.picture.dtype == dtype
    np.testing.assert_array_equal(sample.picture, cv2.imread(str(tmp_path / "set/images/p0.png"), cv2.IMREAD_UNCHANGED))


def test_a_mask_is_true_above_half_of_its_range(folder):
    grey = np.zeros((64, 64), np.uint8)
    grey[10, 20:24] = [127, 128, 200, 255]
    cv2.imwrite(str(folder / "masks" / "p0.png"), grey)
    sample = read_sample(folder, "p0")
    assert np.argwhere(sample.mask).tolist() == [[10, 21], [10, 22], [10, 23]]


@pytest.mark.parametrize(("dtype", "drawn", "top"), [(np.uint8, 1, 255), (np.uint8, 127, 255), (np.uint16, 255, 65535)])
@pytest.mark.parametrize("part", ["masks", "ignored"])
def test_a_mask_drawn_too_faintly_is_refused(folder, part, dtype, drawn, top):
    grey = np.zeros((64, 64), dtype)
    grey[10, 20:24] = drawn
    (folder / part).mkdir(exist_ok=True)
    cv2.imwrite(str(folder / part / "p0.png"), grey)
    told = rf"{part}/p0\.png: brightest value {drawn}, but a mask of its bit depth has 0 and {top}$"
    with pytest.raises(ConfigError, match=told):
        read_sample(folder, "p0", ignored="ignored" if part == "ignored" else None)
    cv2.imwrite(str(folder / part / "p0.png"), np.zeros_like(grey))
    assert read_sample(folder, "p0").mask.any() == (part == "ignored")


def test_a_picture_stored_in_colour_is_read_as_grey(folder):
    cv2.imwrite(str(folder / "images" / "p0.png"), np.full((64, 64, 3), 90, np.uint8))
    assert read_sample(folder, "p0").picture.tolist() == np.full((64, 64), 90).tolist()


def test_a_set_without_masks_holds_no_targets(folder):
    sample = read_sample(folder, "p0", masks=None)
    assert not sample.mask.any()


def test_a_target_is_never_ignored(folder):
    (folder / "ignored").mkdir()
    cv2.imwrite(str(folder / "ignored" / "p0.png"), np.full((64, 64), 255, np.uint8))
    sample = read_sample(folder, "p0", ignored="ignored")
    np.testing.assert_array_equal(sample.ignored, 1 - sample.mask)
    assert not read_sample(folder, "p0").ignored.any()
    cv2.imwrite(str(folder / "ignored" / "p0.png"), np.full((64, 32), 255, np.uint8))
    with pytest.raises(ConfigError, match=r"ignored/p0\.png: 32x64 mask"):
        read_sample(folder, "p0", ignored="ignored")


def test_a_list_may_select_the_validation_pictures(folder):
    (folder / "img_idx" / "few.txt").write_text("p3\np1\n")
    source = SourceConfig(folder="tiny", validation="img_idx/few.txt")
    training, validation = split_names(folder.parent, source)
    assert validation == ["p1", "p3"]
    assert training == [f"p{k}" for k in (0, 2, *range(4, 12))]
    with pytest.raises(ConfigError, match=r"gone\.txt"):
        split_names(folder.parent, SourceConfig(folder="tiny", validation="gone.txt"))


def test_a_list_of_other_names_is_refused(folder):
    (folder / "img_idx" / "few.txt").write_text("p3\np1.png\nq7\n")
    for split, lists in (("img_idx/train.txt", "img_idx/train.txt"), (None, "images")):
        with pytest.raises(ConfigError, match=rf"tiny/img_idx/few\.txt: not in .*tiny/{lists}: p1\.png$"):
            split_names(folder.parent, SourceConfig(folder="tiny", split=split, validation="img_idx/few.txt"))


def test_a_few_of_a_list_are_spread_evenly_over_it():
    assert spread("abcdefghij", 2) == ["c", "h"]
    assert spread("abcdefghij", 1) == ["f"]
    assert spread("abc", 2) == ["a", "c"]
    for all_of_them in (None, 3, 4):
        assert list(spread("abc", all_of_them)) == ["a", "b", "c"]
    assert all(len(set(spread(range(size), most))) == min(size, most) for size in range(30) for most in range(1, 30))


def test_the_validation_split_is_fixed():
    chosen = [k for k in range(20) if held_out("irstd_1k", f"XDU{k}", 0.3)]
    assert chosen == [0, 2, 3, 17]
    share = sum(held_out("a", str(k), 0.25) for k in range(4000)) / 4000
    assert share == pytest.approx(0.25, abs=0.03)
    assert not any(held_out("a", str(k), 0.0) for k in range(100))


def test_a_larger_fraction_only_adds_pictures():
    for k in range(200):
        assert held_out("a", str(k), 0.1) <= held_out("a", str(k), 0.2)


def test_the_two_parts_are_disjoint_and_complete(folder):
    training, validation = split_names(folder.parent, SourceConfig(folder="tiny", validation=0.4))
    assert sorted(training + validation) == sorted(names(folder, None))
    assert training
    assert validation
    loaded, held = load_sources(folder.parent, [SourceConfig(folder="tiny", validation=0.4)])
    assert [sample.name for sample in loaded[0]] == training
    assert [sample.name for sample in held["tiny"]] == validation


def test_the_split_does_not_depend_on_how_a_folder_is_written(tmp_path, monkeypatch):
    names = write_set(tmp_path / "data" / "video" / "tiny", pictures=12)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    expected = [name for name in names if held_out("video/tiny", name, 0.4)]
    for root in (tmp_path / "data", Path("data"), Path("link"), Path("link/../data")):
        absolute = f"{tmp_path}/data/video/tiny"
        for spelled in ("video/tiny", "video/tiny/", "./video//tiny", "video/../video/tiny", absolute):
            split = split_sources(root, [SourceConfig(folder=spelled, validation=0.4)])
            assert {name: [n for _, n in held] for name, held in split.validation.items()} == {"video/tiny": expected}
    elsewhere = SourceConfig(folder=f"{tmp_path}/data/video/tiny/", validation=0.4)
    assert split_names(tmp_path, elsewhere)[1] == [n for n in names if held_out("data/video/tiny", n, 0.4)]
    assert split_names(Path("/nonexistent"), elsewhere)[1] == [n for n in names if held_out("tiny", n, 0.4)]


@pytest.mark.parametrize(
    "others",
    [
        {"folder": "tiny"},
        {"folder": "tiny", "validation": 0.2},
        {"folder": "tiny/", "split": None},
        {"folder": "tiny", "validation": "img_idx/few.txt"},
        {"folder": ".", "split": "tiny/img_idx/train.txt", "images": "tiny/images", "masks": "tiny/masks"},
    ],
)
def test_a_picture_held_out_by_one_source_is_not_trained_on_by_another(folder, others):
    (folder / "img_idx" / "few.txt").write_text("p0\n")
    sources = [SourceConfig(folder="tiny", validation=0.4), SourceConfig(**others)]
    for order in (sources, sources[::-1]):
        with pytest.raises(ConfigError, match=r"tiny/images/p\d+\.png: one source holds it out, another trains on it$"):
            load_sources(folder.parent, order)


def test_a_set_that_is_listed_several_times_is_decoded_and_validated_once(folder):
    sources = [SourceConfig(folder="tiny", validation=0.4, weight=weight) for weight in (1.0, 2.0)]
    (folder / "img_idx" / "few.txt").write_text("p3\np1\np2\np0\n")
    sources.append(SourceConfig(folder="tiny", split="img_idx/few.txt", validation=0.4, turned=False))
    training, validation = load_sources(folder.parent, sources)
    first, second, few = ({sample.name: sample for sample in samples} for samples in training)
    assert first == second
    assert all(first[name] is sample for name, sample in few.items())
    held = split_names(folder.parent, sources[0])[1]
    assert [sample.name for sample in validation["tiny"]] == held
    split = split_sources(folder.parent, sources)
    assert [name for _, name in split.validation["tiny"]] == held
    assert split.counts == {"tiny": 12 - len(held)}


def test_a_small_picture_may_be_trained_on_but_not_scored(folder):
    for name in ("p1", "p2"):
        for part in ("images", "masks"):
            cv2.imwrite(str(folder / part / f"{name}.png"), np.zeros((20, 40), np.uint8))
    (folder / "img_idx" / "few.txt").write_text("p3\n")
    source = SourceConfig(folder="tiny", validation="img_idx/few.txt")
    assert load_sources(folder.parent, [source])[0][0][1].picture.shape == (20, 40)
    (folder / "img_idx" / "few.txt").write_text("p3\np1\n")
    for read in (lambda: load_sources(folder.parent, [source]), lambda: read_sample(folder, "p1")):
        with pytest.raises(ConfigError, match=r"images/p1\.png: 40x20 px, but networks need 32x32$"):
            read()


def broken(folder, fault):
    if fault == "no split":
        (folder / "img_idx" / "train.txt").unlink()
    elif fault == "empty split":
        (folder / "img_idx" / "train.txt").write_text("\n")
    elif fault == "binary split":
        (folder / "img_idx" / "train.txt").write_bytes(b"\xff\xfe\x00p0")
    elif fault == "no picture":
        (folder / "images" / "p3.png").unlink()
    elif fault == "no mask":
        (folder / "masks" / "p3.png").unlink()
    elif fault == "not a picture":
        (folder / "images" / "p3.png").write_bytes(b"\x89PNG but no more")
    elif fault == "float picture":
        cv2.imwrite(str(folder / "images" / "p3.tiff"), np.zeros((64, 64), np.float32))
        (folder / "images" / "p3.tiff").rename(folder / "images" / "p3.png")
    else:
        cv2.imwrite(str(folder / "masks" / "p3.png"), np.zeros((32, 64), np.uint8))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no split", r"img_idx/train\.txt: No such file"),
        ("empty split", r"img_idx/train\.txt: no pictures"),
        ("binary split", r"img_idx/train\.txt: not a text file of names"),
        ("no picture", r"images/p3\.png: no readable 8- or 16-bit picture"),
        ("no mask", r"masks/p3\.png: no readable 8- or 16-bit picture"),
        ("not a picture", r"images/p3\.png: no readable 8- or 16-bit picture"),
        ("float picture", r"images/p3\.png: no readable 8- or 16-bit picture"),
        ("other size", r"masks/p3\.png: 64x32 mask for a picture of another size"),
    ],
)
def test_errors_in_a_data_set_name_the_file(folder, fault, message):
    broken(folder, fault)
    with pytest.raises(ConfigError, match=message) as caught:
        load_sources(folder.parent, [SourceConfig(folder="tiny")])
    assert "\n" not in str(caught.value)


def test_validation_may_not_take_everything(folder):
    (folder / "img_idx" / "train.txt").write_text("p0\n")
    with pytest.raises(ConfigError, match="tiny: validation takes every picture"):
        split_names(folder.parent, SourceConfig(folder="tiny", validation=0.9999999))


@pytest.mark.parametrize("name", ["irstd_1k", "nuaa_sirst", "nudt_sirst", "sirst_v2_extra"])
def test_real_masks_are_read(name):
    folder = real_data(name)
    assert all(read_sample(folder, picture).mask.any() for picture in names(folder, None)[::40])


def test_the_real_test_set_holds_as_many_targets_as_published():
    folder = real_data("nuaa_sirst")
    assert (
        sum(len(components(read_sample(folder, name).mask > 0)[0]) for name in names(folder, "img_idx/test.txt")) == 263
    )
