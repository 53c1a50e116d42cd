"""The baselines, on a sequence with handmade detections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import load
from pipeline.messages import DETECTION_DTYPE, Detected, EgoMotion
from tests.messages import frame_header, rows
from tools import video_baselines
from tools.render_scene import main as render
from tools.video_figures import Video

VIDEO = Video("set", "one", Path("none.mp4"), Path("none.csv"))
CONFIG = load(None, ["detect.threshold=0.9"])
POSTS = [(40.0 + 15 * i, 80.0) for i in range(8)]


def messages(count=60, pan=0.0):
    """Eight stationary posts and a flying target, seen by a panning camera."""
    ego = EgoMotion(matrix=(1, 0, -pan, 0, 1, 0), inliers=50, ok=True, method="flow")
    for t in range(count):
        spots = [(x - pan * t, y) for x, y in [*POSTS, (20.0 + 3.0 * t, 30.0)]]
        table = rows(DETECTION_DTYPE, *({"x": x, "y": y, "score": 0.95, "snr": 20} for x, y in spots))
        yield Detected(header=frame_header((128, 256), seq=t), ego=ego, detections=table.tobytes())


def test_without_a_tracker_detections_are_tracks_of_one_frame():
    seen = list(messages(5))
    ids = [id_ for table in video_baselines.untracked(VIDEO, seen, CONFIG) for id_ in table["id"].tolist()]
    assert sorted(ids) == list(range(1, 46))
    config = load(None, ["detect.threshold=0.96"])
    assert not any(len(table) for table in video_baselines.untracked(VIDEO, seen, config))


def test_m_of_n_confirms_posts_and_the_tracker_does_not():
    seen = list(messages())
    shown = [
        sum(table["state"] != 0 for table in way(VIDEO, seen, CONFIG) if len(table) == 9).tolist()
        for way in (video_baselines.m_of_n, video_baselines.tracked)
    ]
    assert all(frames > 50 for frames in shown[0])
    assert sorted(shown[1])[:8] == [0] * 8
    assert max(shown[1]) > 30


@pytest.mark.parametrize("pan", [0.0, 5.0])
def test_byte_track_holds_targets_under_a_panning_camera(pan):
    pytest.importorskip("trackers", reason="pip install trackers")
    seen = list(messages(pan=pan))
    tables = list(video_baselines.byte_track(VIDEO, seen, CONFIG))
    last = {int(row["id"]): (row["x"], row["y"]) for row in tables[-1]}
    assert len(last) == 9
    assert {int(row["id"]) for table in tables[10:] for row in table} == set(last)
    assert any(np.hypot(x - (20 + 3 * 59 - pan * 59), y - 30) < 1 for x, y in last.values())


def test_the_whole_table_of_a_rendered_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "rendered"
    url = "test://sky?width=96&height=64&frames=8&targets=1&snr=60&camera=still"
    assert render([url, "--out", str(data / "clip"), "--format", "png16"]) == 0
    frames = next(path.parent for path in sorted(data.rglob("*.png")))
    frames.with_suffix(".csv").write_text("frame,x,y,w,h\n0,10,10,,\n")
    words = ["--data", str(data), "--set", "detect.threads=1", "--keep", str(tmp_path / "k")]
    assert video_baselines.main(words) == 0
    out = capsys.readouterr().out
    for name in ("top-hat, tracker", *(f"network and motion, {way}" for way in ("untracked", "M of N", "tracker"))):
        assert f": {name} |" in out
    assert list((tmp_path / "k").iterdir())
    # The score from which network detections start tracks does not apply to the top-hat.
    assert video_baselines.main([*words, "--set", "track.high_score=0.3"]) == 0
    top_hat = next(row for row in out.splitlines() if ": top-hat" in row)
    assert top_hat in capsys.readouterr().out


def test_a_video_that_fails_does_not_take_the_rows_of_others_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "test://sky?width=96&height=64&frames=3&targets=1&snr=60&camera=still"
    assert render([url, "--out", str(tmp_path / "set" / "one"), "--format", "png16"]) == 0
    (tmp_path / "set" / "two").mkdir()
    (tmp_path / "set" / "one" / "frames").rename(tmp_path / "set" / "frames")
    for name in ("frames", "two"):
        (tmp_path / "set" / f"{name}.csv").write_text("frame,x,y,w,h\n")
    assert video_baselines.main(["--data", str(tmp_path / "set"), "--set", "detect.threads=1"]) == 3
    out, errors = capsys.readouterr()
    assert "| set: network and motion, tracker | 1 | 3 |" in out
    assert errors.startswith(f"tools.video_baselines: error: {tmp_path}/set/two: no images")


def test_a_folder_without_videos_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert video_baselines.main(["--data", str(tmp_path)]) == 2
    assert f"--data {tmp_path}: no labelled videos" in capsys.readouterr().err
