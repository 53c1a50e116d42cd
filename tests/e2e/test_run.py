"""A run from the command line to the files: schema, accounts, and the same results for every placement."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import real_data
from tests.e2e.harness import FAST, PROCESSES, SMALL, assert_nothing_left, lines, record, run_program


def test_run_writes_all_documented_outputs(tmp_path: Path, runtime: Path) -> None:
    done = run_program(SMALL, "--out", str(tmp_path), runtime=runtime)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "demo" in done.stdout
    folder = tmp_path / "demo"

    tracks, detections = lines(folder / "tracks.jsonl"), lines(folder / "detections.jsonl")
    assert [line["frame"] for line in tracks] == list(range(12)) == [line["frame"] for line in detections]
    for line in tracks:
        assert set(line) == {"source", "frame", "pts", "tracks", "ego"}
        assert set(line["ego"]) == {"matrix", "inliers", "ok"}
        assert len(line["ego"]["matrix"]) == 6
        for track in line["tracks"]:
            assert set(track) == {"id", "x", "y", "vx", "vy", "state", "score", "area", "bbox", "snr"}
            assert track["state"] in {"tentative", "confirmed", "coasting"}
    for line in detections:
        assert set(line) == {"source", "frame", "pts", "detections"}
        for detection in line["detections"]:
            assert set(detection) == {"x", "y", "score", "area", "bbox", "snr", "motion", "appearance"}
    for row in (folder / "tracks.mot.txt").read_text().splitlines():
        assert int(row.split(",")[0]) >= 1

    video = cv2.VideoCapture(str(folder / "overlay.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 12

    run = record(tmp_path)
    assert run["drained"] is True
    assert run["exit_code"] == 0
    assert len(run["weights"]["sha256"]) == 64
    assert run["device"]
    source = run["sources"]["demo"]
    assert source["account"] == {
        "captured": 12, "delivered": 12, "dropped": {}, "lost": {}, "in_flight": 0, "closes": True,
    }  # fmt: skip
    assert {"preprocess", "detect", "track"} <= set(source["latency_ms"])
    assert source["end"] == "finished"


def test_nothing_is_detected_under_a_mask(tmp_path: Path, runtime: Path) -> None:
    scene = "test://crossing?width=160&height=128&frames=12&seed=3&snr=25"
    left = "{crossing: [[[-1, -1], [60, -1], [60, 128], [-1, 128]]]}"
    assert run_program(scene, *FAST, "--out", str(tmp_path / "free"), runtime=runtime).returncode == 0
    masked = ["--set", f"detect.masks={left}", "--set", "placement.detect=process"]
    assert run_program(scene, *FAST, *masked, "--out", str(tmp_path / "masked"), runtime=runtime).returncode == 0
    free, kept = (
        [row["x"] for line in lines(tmp_path / run / "crossing/detections.jsonl") for row in line["detections"]]
        for run in ("free", "masked")
    )
    assert kept == [x for x in free if round(x) > 60]
    assert 0 < len(kept) < len(free)


def test_tracks_do_not_depend_on_placement_or_other_sources(tmp_path: Path, runtime: Path) -> None:
    other = "test://sea?width=64&height=64&frames=9"
    runs = {
        "threads": [SMALL, *FAST],
        "again": [SMALL, *FAST],
        "processes": [SMALL, *FAST, *PROCESSES],
        "tcp": [SMALL, other, *FAST, *PROCESSES, "--set", "queue.transport=tcp"],
        "company": [other, SMALL, *FAST, "--set", "detect.batch_size=4"],
        "lanes": [other, SMALL, *FAST, *PROCESSES, "--set", "placement.lanes=2"],
    }
    files = {}
    for name, args in runs.items():
        done = run_program(*args, "--out", str(tmp_path / name), runtime=runtime)
        assert done.returncode == 0, (name, done.stderr)
        run = record(tmp_path / name)
        assert run["drained"] is True
        assert all(source["account"]["closes"] for source in run["sources"].values())
        assert list(runtime.iterdir()) == []
        files[name] = [(tmp_path / name / "demo" / f).read_bytes() for f in ("tracks.jsonl", "detections.jsonl")]
    assert all(content == files["threads"] for content in files.values()), "tracks differ"
    seas = [(tmp_path / name / "sea" / "tracks.jsonl").read_bytes() for name in ("tcp", "company", "lanes")]
    assert seas[0] == seas[1] == seas[2]
    latency = record(tmp_path / "lanes")["sources"]["sea"]["latency_ms"]
    assert set(latency) == {"preprocess", "detect", "track", "total"}, "by role, whatever the lane"


def test_tracks_are_identical_when_pictures_lie_in_shared_memory(tmp_path: Path, runtime: Path) -> None:
    large = "test://demo?width=512&height=256&frames=12"  # 16 bit: just large enough
    files = []
    for name, placement in (("threads", []), ("processes", PROCESSES)):
        args = [large, *FAST, "--set=detect.weights=edge", *placement, "--out", str(tmp_path / name)]
        assert run_program(*args, runtime=runtime).returncode == 0
        assert record(tmp_path / name)["drained"] is True
        files.append([(tmp_path / name / "demo" / f).read_bytes() for f in ("tracks.jsonl", "detections.jsonl")])
    assert files[0] == files[1]


def test_rendered_16_bit_folder_gives_the_tracks_of_the_scene_itself(tmp_path: Path, runtime: Path) -> None:
    from tools.render_scene import main as render

    assert render([SMALL, "--out", str(tmp_path / "frames"), "--format", "png16"]) == 0
    images = next(path.parent for path in sorted((tmp_path / "frames").rglob("*.png")))
    outs = {"scene": SMALL, "folder": str(images)}
    for name, address in outs.items():
        done = run_program(address, *FAST, "--out", str(tmp_path / name), runtime=runtime)
        assert done.returncode == 0, done.stderr
        assert record(tmp_path / name)["drained"] is True
    scene = lines(tmp_path / "scene" / "demo" / "tracks.jsonl")
    (folder,) = [lines(path) for path in (tmp_path / "folder").glob("*/tracks.jsonl")]
    assert [line["tracks"] for line in scene] == [line["tracks"] for line in folder]
    assert [line["ego"] for line in scene] == [line["ego"] for line in folder]


@pytest.mark.parametrize("policy", ["latest", "bounded"])
def test_lossy_policies_count_every_dropped_frame(tmp_path: Path, runtime: Path, policy: str) -> None:
    scene = "test://demo?width=160&height=128&frames=300&fps=900"  # played faster than it can be processed
    args = ["--policy", policy, "--set", "queue.staleness_s=0.05", *FAST, "--out", str(tmp_path)]
    done = run_program(scene, *args, runtime=runtime)
    assert done.returncode == 0, done.stderr
    run = record(tmp_path)
    account = run["sources"]["demo"]["account"]
    frames = [line["frame"] for line in lines(tmp_path / "demo" / "tracks.jsonl")]
    assert run["drained"] is True
    assert account["closes"]
    assert account["captured"] == 300
    assert account["delivered"] == len(frames) == len(set(frames))
    assert frames == sorted(frames)
    assert sum(account["dropped"].values()) == 300 - len(frames) > 0


def test_recording_under_a_lossy_policy_is_played_like_a_camera(tmp_path: Path, runtime: Path) -> None:
    folder = tmp_path / "cam"
    folder.mkdir()
    for k in range(8):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((64, 64), 1000 + k, np.uint16))
    args = ["--policy", "latest", "--set", "capture.image_fps=2", *FAST, "--out", str(tmp_path / "out")]
    done = run_program(str(folder), *args, runtime=runtime)
    assert done.returncode == 0, done.stderr
    frames = [line["frame"] for line in lines(tmp_path / "out" / "cam" / "tracks.jsonl")]
    assert (frames[0], frames[-1]) == (0, 7), "it starts when the stages are ready"
    assert len(frames) >= 4, "half a second per frame"
    assert record(tmp_path / "out")["config"]["queue"]["policy"] == "latest"


def test_real_video_gives_a_line_per_frame(tmp_path: Path, runtime: Path) -> None:
    video = min(real_data("video", "drone_ir").glob("IR_DRONE_*.mp4"))
    done = run_program(str(video), *FAST, "--out", str(tmp_path), runtime=runtime)
    assert done.returncode == 0, done.stderr
    run = record(tmp_path)
    (folder,) = [path.parent for path in tmp_path.glob("*/tracks.jsonl")]
    tracks = lines(folder / "tracks.jsonl")
    declared = int(cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT))
    assert [line["frame"] for line in tracks] == list(range(declared))
    assert run["drained"] is True
    assert run["sources"][folder.name]["account"]["closes"]


def test_usage_is_explained(runtime: Path) -> None:
    assert run_program("--help", runtime=runtime).returncode == 0
    wrong = run_program("--polisy", "latest", runtime=runtime)
    assert wrong.returncode == 2
    assert "--polisy" in wrong.stderr


def test_unknown_scene_parameter_is_refused(runtime: Path) -> None:
    done = run_program("test://demo?colour=red", runtime=runtime)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "colour" in done.stderr
    assert_nothing_left(0, runtime)
