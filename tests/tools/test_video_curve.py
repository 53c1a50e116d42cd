"""The curve over the detection threshold, as figures and as a plot."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from pipeline.errors import ConfigError
from tools import mot_metrics
from tools.video_curve import curves, write
from tools.video_figures import Result, Video


def result(group: str, hit: bool, false: bool, target: bool = True) -> Result:
    tracks = [*([(1, 0.0)] if hit else []), *([(9, 50.0)] if false else [])]
    ids, places = [i for i, _ in tracks], [(x, 0.0) for _, x in tracks]
    truth = ([0], [(0.0, 0.0)]) if target else ([], [])
    frames = [mot_metrics.frame(*truth, 5.0, ids, places)] * 30
    return Result(Video(group, "v", Path("v.mp4"), Path("v.csv")), frames, 30.0, 1.0, 1.0)


def test_each_set_has_its_points_in_the_order_of_thresholds() -> None:
    found = curves({0.9: [result("a", False, False), result("b", True, False)], 0.3: [result("a", True, True)]})
    assert list(found) == ["a", "b"]
    points = [(p["threshold"], p["pd"], p["false_tracks_per_minute"]) for p in found["a"]]
    assert points == [(0.3, 1.0, 60.0), (0.9, 0.0, 0.0)]
    assert [p["threshold"] for p in found["b"]] == [0.9]


def test_figures_and_picture_are_written(tmp_path: Path) -> None:
    found = curves({t: [result("a", t < 0.9, t < 0.5)] for t in (0.3, 0.4, 0.6, 0.95)})
    write(found, tmp_path / "curve.json")
    assert json.loads((tmp_path / "curve.json").read_text()) == found
    write(found, tmp_path / "curve.png")
    picture = cv2.imread(str(tmp_path / "curve.png"))
    assert picture is not None and picture.std() > 5
    with pytest.raises(ConfigError, match="gone"):
        write(found, tmp_path / "gone" / "curve.json")


def test_a_set_without_a_target_has_figures_but_no_curve(tmp_path: Path) -> None:
    found = curves({t: [result("a", True, t < 0.5), result("clean", False, t < 0.9, target=False)] for t in (0.3, 0.6)})
    assert [(p["pd"], p["false_tracks_per_minute"]) for p in found["clean"]] == [(None, 60.0), (None, 60.0)]
    write(found, tmp_path / "both.png")
    write({"a": found["a"]}, tmp_path / "a.png")
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    write({"clean": found["clean"]}, tmp_path / "none.png")
    assert cv2.imread(str(tmp_path / "none.png")) is not None
