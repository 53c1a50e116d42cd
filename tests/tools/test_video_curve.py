"""The curve over the detection threshold, as figures and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from pipeline.errors import ConfigError
from tools import mot_metrics
from tools.video_curve import curves, write
from tools.video_figures import Result, Video


def result(group: str, hit: bool, false: bool) -> Result:
    tracks = [*([(1, 0.0)] if hit else []), *([(9, 50.0)] if false else [])]
    ids, places = [i for i, _ in tracks], [(x, 0.0) for _, x in tracks]
    frames = [mot_metrics.frame([0], [(0.0, 0.0)], 5.0, ids, places)] * 30
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
