"""Video evaluation: labels, pooling of figures, and a whole run on a rendered video."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.config import load
from pipeline.errors import ConfigError
from tools import mot_metrics
from tools.evaluate_video import Result, Video, find_videos, main, read_labels, summarise
from tools.render_scene import main as render

VIDEO = Video("set", "name", Path("name.mp4"), Path("name.csv"))


def test_labels_are_centres_in_pixel_coordinates(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("frame,x,y,w,h\n0,10,20,4,2\n2,7.5,8,,\n2,0,0,1,1\n")
    labels = read_labels(path)
    assert labels[0] == [(11.5, 20.5, 4.0, 2.0)]  # columns 10..13, rows 20..21
    assert labels[2][0][:2] == (7.5, 8.0)
    assert labels[2][1][:2] == (0.0, 0.0)
    assert 1 not in labels
    assert mot_metrics.reach(np.array(labels[2])[:, 2:]).tolist() == [5.0, 5.0]


@pytest.mark.parametrize("row", ["a,1,2,3,4", "0,1,,3,4", "0,1,2,3"])
def test_broken_label_is_named_with_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "v.csv"
    path.write_text(f"frame,x,y,w,h\n0,1,2,3,4\n{row}\n")
    with pytest.raises(ConfigError, match=r"v\.csv:3: expected frame,x,y,w,h"):
        read_labels(path)


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


def one_target(tracks_by_frame: list[list[tuple[int, float]]]) -> list[mot_metrics.Frame]:
    """A target at (0, 0) in every frame; tracks (id, x)."""
    return [
        mot_metrics.frame([0], [(0.0, 0.0)], 5.0, [i for i, _ in tracks], [(x, 0.0) for _, x in tracks])
        for tracks in tracks_by_frame
    ]


def test_figures_of_a_hand_worked_video() -> None:
    # Found from the third frame on by track 1; track 9 is far away in two frames.
    frames = one_target([[], [(9, 50.0)], [(1, 1.0), (9, 50.0)], [(1, 1.0)]])
    figures = summarise([Result(VIDEO, frames, fps=2.0, seconds=0.5, detections=3.0)])
    assert figures["pd"] == 0.5
    assert figures["frames_to_confirm"] == 2
    assert figures["false_points_per_frame"] == 0.5
    assert figures["false_tracks_per_minute"] == 30.0  # one in 4 frames at 2 frames per second
    assert figures["motp_px"] == 1.0
    assert figures["fps"] == 8.0
    assert figures["mota"] == 0.0  # 2 matches, 2 misses, 2 false points
    assert figures["never_found"] == 0


def test_equal_ids_in_different_videos_are_different_trajectories() -> None:
    result = Result(VIDEO, one_target([[(1, 0.0)], [(1, 0.0)]]), 25.0, 1.0, 1.0)
    lost = Result(VIDEO, one_target([[], []]), 25.0, 1.0, 0.0)
    both = summarise([result, result])
    assert (both["idf1"], both["switches"], both["hota"]) == (1.0, 0, 1.0)
    mixed = summarise([result, lost])
    assert (mixed["never_found"], mixed["pd"], mixed["frames_to_confirm"]) == (1, 0.5, 0)


def test_whole_evaluation_of_a_rendered_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "test://sky?width=96&height=64&frames=10&targets=2&snr=60&camera=still"
    data = tmp_path / "data" / "rendered"
    data.mkdir(parents=True)
    assert render([url, "--out", str(data / "clip"), "--format", "png16"]) == 0
    scene = Scene(SceneSpec.from_url(url))
    rows = [f"{k},{t.x:.3f},{t.y:.3f},," for k in range(len(scene)) for t in scene.truth(k) if t.visible]
    frames = next(p.parent for p in sorted((data / "clip").rglob("*.png")))
    if frames != data / "clip":
        frames.rename(data / "frames")
        labels = data / "frames.csv"
    else:
        labels = data / "clip.csv"
    labels.write_text("\n".join(["frame,x,y,w,h", *rows]) + "\n")
    report = tmp_path / "report.json"
    words = ["--data", str(tmp_path / "data"), "--set", "detect.threads=1", "--json", str(report)]
    assert main(words) == 0
    assert "| rendered | 1 | 10 |" in capsys.readouterr().out
    figures = json.loads(report.read_text())
    assert figures["sets"]["rendered"]["frames"] == 10
    assert figures["config"]["detect"]["threads"] == 1


def test_bad_words_give_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "nowhere")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "nowhere" in errors
    assert load(None).detect.weights == "mshnet"
