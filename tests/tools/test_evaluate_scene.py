"""Scene evaluation: hidden targets count neither as missed nor as false."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.capture.scene import TargetTruth
from pipeline.messages import COASTING, CONFIRMED, TENTATIVE, TRACK_DTYPE, Table
from tools import mot_metrics, other_trackers
from tools.evaluate_scene import OURS, compare, main, report


def tracks(*rows: tuple[int, int, float, float]) -> Table:
    table = np.zeros(len(rows), TRACK_DTYPE)
    for row, (id_, state, x, y) in zip(table, rows, strict=True):
        row["id"], row["state"], row["x"], row["y"] = id_, state, x, y
    return table


def truth(id_: int, x: float, visible: bool = True) -> TargetTruth:
    return TargetTruth(id_, x, 0.0, 2.0, 2.0, 8.0, visible)


def test_tentative_tracks_do_not_count_and_coasting_ones_do() -> None:
    frame = compare([truth(0, 0), truth(1, 50)], tracks((1, TENTATIVE, 0, 0), (2, COASTING, 50, 0)))
    clear = mot_metrics.clear([frame])
    assert (clear.matches, clear.misses, clear.false_positives) == (1, 1, 0)


@pytest.mark.parametrize(("x", "false"), [(0.0, 0), (4.9, 0), (5.1, 1)])
def test_track_with_a_hidden_target_is_excused_within_reach(x: float, false: int) -> None:
    clear = mot_metrics.clear([compare([truth(0, 0, visible=False)], tracks((1, CONFIRMED, x, 0)))])
    assert (clear.misses, clear.false_positives) == (0, false)


def test_track_near_a_hidden_and_a_visible_target_counts_for_the_visible() -> None:
    clear = mot_metrics.clear([compare([truth(0, 0, visible=False), truth(1, 4)], tracks((1, CONFIRMED, 2, 0)))])
    assert (clear.matches, clear.misses, clear.false_positives) == (1, 0, 0)


def test_report_of_a_hand_worked_frame() -> None:
    # One target 1 px off, one missed, one false track: 1 + 5 + 5 px.
    frame = compare([truth(0, 0), truth(1, 50)], tracks((1, CONFIRMED, 1, 0), (2, CONFIRMED, 90, 0)))
    line = report([frame])
    assert "GOSPA 11.00 px (localisation 1.00, missed 5.00, false 5.00)" in line
    assert "Pd 0.500  false points/frame 1.000  MOTP 1.00 px" in line
    assert "false points/frame 0.500" in report([frame, compare([], tracks())])


SCENE = "test://sky?width=96&height=64&frames=8&targets=1&snr=60&camera=still"
SETTINGS = ["--set", "detect.threads=1"]


def test_scene_is_scored_and_what_was_detected_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([SCENE, *SETTINGS, "--keep", str(tmp_path / "k")]) == 0
    first = capsys.readouterr().out
    assert first.startswith("frames 8  HOTA")
    assert list((tmp_path / "k").iterdir())
    assert main([SCENE, *SETTINGS, "--keep", str(tmp_path / "k")]) == 0
    assert capsys.readouterr().out == first


def test_trackers_of_the_library_have_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    if other_trackers.AVAILABLE:
        assert main([SCENE, *SETTINGS, "--others"]) == 0
        assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [OURS, "ByteTrack", "OC-SORT"]
    else:
        assert main([SCENE, *SETTINGS, "--others"]) == 2
        assert "pip install trackers" in capsys.readouterr().err


def test_what_is_no_scene_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test://moon"]) == 3
    assert capsys.readouterr().err.startswith("tools.evaluate_scene: error: test://moon: unknown scene 'moon'")


def test_a_mask_of_another_source_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test://demo?frames=2", "--set", "detect.masks={moon: [[[0, 0], [9, 0], [9, 9]]]}"]) == 2
    assert "no source is named moon; there is demo" in capsys.readouterr().err
