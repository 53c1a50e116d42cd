"""Figures of videos: hand-computed videos, pooling, classes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tools import mot_metrics
from tools.video_figures import Result, Video, by_class, by_set, false_tracks, found, summarise, table


def video(name: str, group: str = "set") -> Video:
    return Video(group, name, Path(f"{name}.mp4"), Path(f"{name}.csv"))


VIDEO = video("name")


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
    assert figures["fps"] == 6.0  # three frames in half a second: the first is not timed
    assert figures["mota"] == 0.0  # 2 matches, 2 misses, 2 false points
    assert figures["never_found"] == 0


def test_equal_ids_in_different_videos_are_different_trajectories() -> None:
    result = Result(VIDEO, one_target([[(1, 0.0)], [(1, 0.0)]]), 25.0, 1.0, 1.0)
    lost = Result(VIDEO, one_target([[], []]), 25.0, 1.0, 0.0)
    both = summarise([result, result])
    assert (both["idf1"], both["switches"], both["hota"]) == (1.0, 0, 1.0)
    mixed = summarise([result, lost])
    assert (mixed["never_found"], mixed["pd"], mixed["frames_to_confirm"]) == (1, 0.5, 0)


def test_frames_to_confirm_count_from_the_first_target() -> None:
    nothing = mot_metrics.frame([], [], 5.0, [], [])
    frames = [nothing, nothing, *one_target([[], [], [], [(1, 0.0)]])]
    assert found([Result(VIDEO, frames, 25.0, 1.0, 1.0)])["frames_to_confirm"] == 3


def test_detections_per_frame_are_a_mean_over_videos() -> None:
    results = [Result(VIDEO, one_target([[]]), 25.0, 1.0, detections) for detections in (1.0, 4.0)]
    assert summarise(results)["detections_per_frame"] == 2.5


def test_gospa_of_a_hand_worked_video() -> None:
    # 1 px off with a false track beside it, then missed: (1 + 5 + 5) / 2.
    figures = summarise([Result(VIDEO, one_target([[(1, 1.0), (9, 50.0)], []]), 2.0, 0.5, 1.0)])
    names = ("gospa_px", "gospa_localisation_px", "gospa_missed_px", "gospa_false_px")
    assert [figures[name] for name in names] == [5.5, 0.5, 2.5, 2.5]


def test_frames_to_confirm_over_videos_and_which_were_never_found() -> None:
    waiting = [Result(video(f"v{n}"), one_target([[]] * n + [[(1, 0.0)]]), 25.0, 1.0, 1.0) for n in range(11)]
    lost = Result(video("lost"), one_target([[(1, 20.0)]]), 25.0, 1.0, 1.0)
    empty = Result(video("empty"), [mot_metrics.frame([], [], 5.0, [], [])], 25.0, 1.0, 0.0)
    figures = summarise([*waiting, lost, empty])
    assert (figures["frames_to_confirm"], figures["frames_to_confirm_p90"]) == (5, 9.0)
    assert (figures["never_found"], figures["never_found_videos"]) == (1, ["lost"])
    nothing = found([lost, empty])
    assert (nothing["frames_to_confirm"], nothing["frames_to_confirm_p90"]) == (None, None)


def test_without_targets_there_are_false_tracks_alone() -> None:
    clean = [mot_metrics.frame([], [], 5.0, [], [])] * 59
    background = Result(video("background"), [*clean, mot_metrics.frame([], [], 5.0, [1], [(9.0, 9.0)])], 1.0, 0.0, 1.0)
    figures = summarise([background])
    shares = ("hota", "det_a", "ass_a", "mota", "idf1", "pd", "motp_px", "frames_to_confirm")
    assert [figures[share] for share in shares] == [None] * len(shares)
    assert (figures["false_tracks_per_minute"], figures["never_found"]) == (1.0, 0)
    row = table({"backgrounds": figures}).splitlines()[-1]
    assert row.startswith("| backgrounds | 1 | 60 | - | - | - | 0 | - | 1.0 |")
    # Pooled with a video that has a target, its false track counts as any other.
    both = summarise([background, Result(VIDEO, one_target([[(1, 0.0)]] * 60), 1.0, 0.0, 1.0)])
    assert (both["pd"], both["false_tracks_per_minute"]) == (1.0, 0.5)
    assert both["mota"] == round(59 / 60, 4)


def test_false_tracks_of_a_video_without_frame_rate_do_not_count_per_minute() -> None:
    alone = Result(video("alone"), one_target([[(1, 50.0), (2, 60.0)]]), math.nan, 0.0, 2.0)
    minute = Result(video("minute"), one_target([[(1, 50.0)]] * 60), 1.0, 0.0, 1.0)
    figures = found([alone, minute])
    assert (figures["false_tracks"], figures["minutes"], figures["false_tracks_per_minute"]) == (3, 1.0, 1.0)
    assert found([alone])["false_tracks_per_minute"] is None


def test_a_track_once_on_a_target_is_not_false() -> None:
    assert false_tracks(one_target([[(1, 5.0), (2, 5.1)], [(1, 90.0), (3, 4.0)]])) == {2}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("IR_DRONE_014", "drone"), ("V_BIRD_1", "bird"), ("easy1", ""), ("02_6321_0274", ""), ("IR_DRONE", "")],
)
def test_class_is_read_from_the_name(name: str, kind: str) -> None:
    assert video(name).kind == kind


def test_pooling_by_set_and_class() -> None:
    names = [("IR_DRONE_2", "b"), ("IR_BIRD_1", "b"), ("easy1", "a"), ("IR_DRONE_1", "b")]
    results = [Result(video(name, group), one_target([[(1, 0.0)]]), 25.0, 1.0, 1.0) for name, group in names]

    def members(groups: dict[str, list[Result]]) -> dict[str, list[str]]:
        return {key: [result.video.name for result in group] for key, group in groups.items()}

    assert members(by_set(results)) == {"a": ["easy1"], "b": ["IR_DRONE_2", "IR_BIRD_1", "IR_DRONE_1"]}
    assert members(by_class(results)) == {"b/bird": ["IR_BIRD_1"], "b/drone": ["IR_DRONE_2", "IR_DRONE_1"]}
    lines = table({name: summarise(group) for name, group in by_class(results).items()}).splitlines()
    assert len(lines) == 4 and lines[3].startswith("| b/drone | 2 | 2 | 1.0 |")
    assert len({line.count("|") for line in lines}) == 1


def test_what_was_not_timed_has_no_rate() -> None:
    figures = summarise([Result(VIDEO, one_target([[(1, 0.0)]]), fps=25.0, seconds=0.0, detections=1.0)])
    assert figures["fps"] is None
    assert table({"set": figures}).splitlines()[-1].endswith("| - |")
