"""Labelled videos: which are found, and what their label files may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from tools import mot_metrics
from tools.video_figures import Video
from tools.video_labels import check_label_frames, find_videos, read_labels


def test_labels_are_centres_in_pixel_coordinates(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("frame,x,y,w,h\n0,10,20,4,2\n2,7.5,8,,\n2,0,0,1,1\n")
    labels = read_labels(path)
    assert labels[0] == [(11.5, 20.5, 4.0, 2.0)]  # columns 10..13, rows 20..21
    assert labels[2][0][:2] == (7.5, 8.0)
    assert labels[2][1][:2] == (0.0, 0.0)
    assert 1 not in labels
    assert mot_metrics.reach(np.array(labels[2])[:, 2:]).tolist() == [5.0, 5.0]


@pytest.mark.parametrize(
    "row", ["a,1,2,3,4", "0,1,,3,4", "0,1,2", "0,1,2,3", "0,1,2,3,4,5", "0,1,2,,4", "0,1,2,0,0", "0,1,2,3,0"]
)
def test_broken_label_is_named_with_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "v.csv"
    path.write_text(f"frame,x,y,w,h\n0,1,2,3,4\n{row}\n")
    with pytest.raises(ConfigError, match=r"v\.csv:3: expected frame,x,y,w,h"):
        read_labels(path)


@pytest.mark.parametrize("text", ["", "\n", "time,u,v\n", "frame,x,y\n", "0,10,20,5,5\n"])
def test_only_a_header_alone_means_no_targets(tmp_path: Path, text: str) -> None:
    path = tmp_path / "v.csv"
    path.write_text("frame,x,y,w,h\n")
    assert read_labels(path) == {}
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"v\.csv:1: expected frame,x,y,w,h"):
        read_labels(path)


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("frame,x,y,w,h\n0,7.5,8,,\n", encoding="utf-8-sig")
    assert read_labels(path)[0][0][:2] == (7.5, 8.0)


def test_two_videos_of_one_name_are_refused_unless_one_is_left_out(tmp_path: Path) -> None:
    for name in ("x/set/one", "y/set/one", "y/set/two"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / f"{name}.csv").touch()
    with pytest.raises(ConfigError, match=r"x/set/one\.csv and .*y/set/one\.csv would both be called set_one"):
        find_videos(tmp_path)
    assert [v.name for v in find_videos(tmp_path, ["two"])] == ["two"]
    assert [v.name for v in find_videos(tmp_path / "y")] == ["one", "two"]


def test_only_labelled_videos_are_found(tmp_path: Path) -> None:
    for name in ("a/one.mp4", "a/one.csv", "a/two.mp4", "a/lone.csv", "b/three.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "three").mkdir()
    assert [(v.group, v.name) for v in find_videos(tmp_path)] == [("a", "one"), ("b", "three")]
    assert [v.name for v in find_videos(tmp_path, ["three"])] == ["three"]
    with pytest.raises(ConfigError, match="gone"):
        find_videos(tmp_path, ["gone"])
    with pytest.raises(ConfigError, match="no such folder"):
        find_videos(tmp_path / "nowhere")


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"folder\.csv: Is a directory"):
        read_labels(tmp_path / "folder.csv")
    with pytest.raises(ConfigError, match=r"link\.csv: No such file"):
        read_labels(tmp_path / "link.csv")


@pytest.mark.parametrize("given", [".", "../set"])
def test_a_set_is_named_after_its_folder_however_that_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    (tmp_path / "set").mkdir()
    for name in ("clip.MOV", "clip.csv"):
        (tmp_path / "set" / name).touch()
    monkeypatch.chdir(tmp_path / "set")
    assert [(v.group, v.name, v.medium.name) for v in find_videos(Path(given))] == [("set", "clip", "clip.MOV")]


def test_labels_beyond_the_requested_frames_are_accepted() -> None:
    video, box = Video("set", "v", Path("v.mp4"), Path("v.csv")), [(5.0, 5.0, 2.0, 2.0)]
    check_label_frames(video, {0: box, 3: box}, range(3), most=3)
    check_label_frames(video, {0: box, 2: box}, range(3), most=None)
    with pytest.raises(ConfigError, match=r"v\.csv: frame 3 has a label, but is not in v\.mp4"):
        check_label_frames(video, {5: box, 3: box}, range(3), most=4)
