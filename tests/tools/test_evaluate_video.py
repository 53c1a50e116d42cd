"""Video evaluation: whole runs on rendered videos, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.config import load
from pipeline.errors import SourceError
from pipeline.messages import Detected
from tests.conftest import wait_until
from tools import evaluate_video, video_baselines, video_curve
from tools.evaluate_video import main
from tools.render_scene import main as render
from tools.replay import detect, track
from tools.video_figures import Result, Video


def test_a_sweep_is_what_single_runs_at_each_threshold_give() -> None:
    address = "test://crossing?width=128&height=96&frames=5&snr=20&seed=1"
    thresholds = (None, 0.99)
    config = load(None, ["detect.threads=1"])
    swept = list(zip(*track(detect(address, config, thresholds), config, thresholds), strict=True))
    assert len({tuple(m.detections for m in messages) for messages in swept}) == 2
    for threshold, messages in zip(thresholds, swept, strict=True):
        words = ["detect.threads=1", *([f"detect.threshold={threshold}"] if threshold else [])]
        single, own = load(None, words), [threshold]
        alone = [message for (message,) in track(detect(address, single, own), single, own)]
        assert [m.detections for m in alone] == [m.detections for m in messages]
        assert [m.tracks for m in alone] == [m.tracks for m in messages]


def rendered(tmp_path: Path) -> Path:
    """Labels of a rendered video of ten frames, ``data/rendered/NAME.csv``."""
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
    return labels


@pytest.mark.parametrize(
    ("words", "measured"),
    [([], True), (["--keep", "kept"], False), (["--curve", "curve.json"], False), (["--jobs", "2"], False)],
)
def test_speed_is_reported_only_where_it_is_that_of_the_stages(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    measured: bool,
) -> None:
    rendered(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["--data", "data", "--set", "detect.threads=1", "--json", "report.json", *words]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| rendered |"))
    assert row.endswith("| - |") is not measured
    figures = json.loads(Path("report.json").read_text())
    for group in (figures["sets"], figures["videos"]):
        assert all((entry["fps"] is not None) is measured for entry in group.values())


def test_loading_before_the_first_frame_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, now = rendered(tmp_path), 0.0

    def slow(*args: object) -> Iterator[list[Detected]]:
        nonlocal now
        now += 1000
        for messages in detect(*args):  # type: ignore[arg-type]
            now += 0.5
            yield messages

    monkeypatch.setattr(evaluate_video, "detect", slow)
    monkeypatch.setattr(evaluate_video, "time", SimpleNamespace(perf_counter=lambda: now))
    video = Video("rendered", labels.stem, labels.with_suffix(""), labels)
    (result,) = evaluate_video.evaluate(video, load(None, ["detect.threads=1"]), [None])
    assert (len(result.frames), result.seconds) == (10, 4.5)


def two_rendered(tmp_path: Path) -> tuple[Path, Path]:
    """Labels of two equal rendered videos, in the order in which they are run."""
    first = rendered(tmp_path)
    second = first.with_name(f"{first.stem}_2.csv")
    shutil.copy(first, second)
    shutil.copytree(first.with_suffix(""), second.with_suffix(""))
    return first, second


def test_malformed_labels_end_the_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, second = two_rendered(tmp_path)
    second.write_text("frame,x,y,w,h\n0,1,2\n")
    monkeypatch.setattr(evaluate_video, "evaluate", lambda *_, **__: pytest.fail("a video was run"))
    assert main(["--data", str(tmp_path / "data")]) == 2
    assert capsys.readouterr().err.startswith(f"tools.evaluate_video: error: {second}:2: expected")


def test_a_video_that_fails_does_not_take_the_figures_of_others_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two_rendered(tmp_path)
    for picture in second.with_suffix("").iterdir():
        picture.unlink()
    report, curve = tmp_path / "report.json", tmp_path / "curve.json"
    words = ["--data", str(tmp_path / "data"), "--set", "detect.threads=1", "--json", str(report)]
    assert main([*words, "--curve", str(curve)]) == SourceError.exit_code
    out, errors = capsys.readouterr()
    assert "| rendered | 1 | 10 |" in out
    assert errors.splitlines()[0].endswith("only 1 of 2 videos were evaluated")
    assert errors.splitlines()[1].startswith(f"tools.evaluate_video: error: {second.with_suffix('')}: no images")
    figures = json.loads(report.read_text())
    assert list(figures["videos"]) == [f"rendered/{first.stem}"]
    assert figures["missing"] == [f"rendered/{second.stem}"]
    assert len(json.loads(curve.read_text())["rendered"]) == len(video_curve.THRESHOLDS)


def test_ctrl_c_reports_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, second = two_rendered(tmp_path)
    real = evaluate_video.evaluate

    def interrupted(video: Video, **words: object) -> list[Result]:
        if video.labels == second:
            raise KeyboardInterrupt
        return real(video, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate_video, "evaluate", interrupted)
    assert main(["--data", str(tmp_path / "data"), "--set", "detect.threads=1"]) == 130
    out, errors = capsys.readouterr()
    assert "| rendered | 1 | 10 |" in out
    assert errors.splitlines() == ["tools.evaluate_video: only 1 of 2 videos were evaluated"]


def fail_first(begun: Path, video: Video) -> list[Result]:
    """A video that takes a while, but for the first, which fails."""
    if video.name == "0":
        raise SourceError("broken")
    (begun / video.name).touch()
    time.sleep(0.5)
    return []


def test_when_a_video_fails_those_in_the_queue_are_not_run(tmp_path: Path) -> None:
    videos = [Video("set", str(k), tmp_path, tmp_path) for k in range(20)]
    with pytest.raises(SourceError):
        list(evaluate_video._run_all(videos, 2, partial(fail_first, tmp_path)))
    assert len(list(tmp_path.iterdir())) < 10


def hang(begun: Path, video: Video) -> list[Result]:
    (begun / str(os.getpid())).touch()
    time.sleep(600)
    return []


def hang_in_two_processes(begun: Path) -> None:
    videos = [Video("set", str(k), begun, begun) for k in range(2)]
    list(evaluate_video._run_all(videos, 2, partial(hang, begun)))


def test_no_process_is_left_when_the_program_is_killed(tmp_path: Path) -> None:
    code = f"from {__name__} import *; hang_in_two_processes(Path({str(tmp_path)!r}))"
    with subprocess.Popen([sys.executable, "-c", code]) as program:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 60)
        program.kill()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in workers), 20)


def test_whole_evaluation_of_a_rendered_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = rendered(tmp_path)
    report, curve, sheet = tmp_path / "report.json", tmp_path / "curve.json", tmp_path / "sheet"
    words = ["--data", str(tmp_path / "data"), "--set", "detect.threads=1", "--json", str(report)]
    assert main([*words, "--curve", str(curve), "--sheet", str(sheet)]) == 0
    assert "| rendered | 1 | 10 |" in capsys.readouterr().out
    figures = json.loads(report.read_text())
    assert figures["sets"]["rendered"]["frames"] == 10
    assert figures["config"]["detect"]["threads"] == 1
    assert figures["missing"] == []
    assert figures["sets"]["rendered"]["minutes"] == round(10 / figures["config"]["capture"]["image_fps"] / 60, 3)
    points = json.loads(curve.read_text())["rendered"]
    assert [point["threshold"] for point in points] == list(video_curve.THRESHOLDS)
    # A target counts as missed until its first track is confirmed, so a contact sheet is drawn.
    assert figures["sets"]["rendered"]["pd"] < 1
    assert [path.name for path in sheet.iterdir()] == [f"rendered_{labels.stem}.png"]


@pytest.mark.parametrize("tool", [main, video_baselines.main])
def test_labels_of_missing_frames_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tool: Callable[[Sequence[str]], int]
) -> None:
    labels = rendered(tmp_path)
    labels.write_text(labels.read_text() + "10,5,5,,\n12,5,5,,\n")
    assert tool(["--data", str(tmp_path / "data"), "--set", "detect.threads=1"]) == 2
    message = f"{labels}: frame 10 has a label, but is not in {labels.with_suffix('')}\n"
    assert capsys.readouterr().err.endswith(message)


def test_bad_arguments_give_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "nowhere")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "nowhere" in errors


@pytest.mark.parametrize("tool", [main, video_baselines.main])
def test_a_mask_of_no_video_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tool: Callable[[list[str]], int]
) -> None:
    name = rendered(tmp_path).stem
    mask = "detect.masks={no_such: [[[0, 0], [9, 0], [9, 9]]]}"
    assert tool(["--data", str(tmp_path / "data"), "--set", mask]) == 2
    assert f"no source is named no_such; there is {name}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "name", "reason"),
    [
        ("--curve", "curve.pdf", "ends in .json or .png"),
        ("--curve", "gone/curve.json", "--curve"),
        ("--json", "gone/report.json", "--json"),
        ("--json", "/proc/report.json", "--json"),
        ("--json", "a_file/report.json", "Not a directory"),
        ("--sheet", "a_file", "exists"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, name: str, reason: str
) -> None:
    (tmp_path / "a_file").touch()
    assert main(["--data", str(tmp_path / "nowhere"), option, str(tmp_path / name)]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert name in errors and reason in errors


def test_a_report_that_can_no_longer_be_written_gives_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered(tmp_path)
    assert main(["--data", str(tmp_path / "data"), "--set", "detect.threads=1", "--json", "/dev/full"]) == 2
    assert capsys.readouterr().err == "tools.evaluate_video: error: /dev/full: No space left on device\n"
