"""Contact sheets: choice of videos and errors, and the positions of the marks in the picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.capture.config import CaptureConfig
from pipeline.errors import ConfigError
from pipeline.messages import CONFIRMED, DETECTION_DTYPE, TENTATIVE, TRACK_DTYPE, EgoMotion, FrameHeader, Tracked
from tools.evaluate_video import NO_BOXES, compare
from tools.video_figures import Result, Video
from tools.video_sheet import BLUE, COLUMNS, GREEN, GREY, RED, crop, false, missed, worst, write

Row = tuple[int, int, float, float]
HEIGHT, WIDTH = 80, 100
TARGET = (50.0, 40.0, 6.0, 4.0)


def message(seq: int, tracks: list[Row], detections: list[tuple[float, float, float]] = []) -> Tracked:  # noqa: B006
    rows, found = np.zeros(len(tracks), TRACK_DTYPE), np.zeros(len(detections), DETECTION_DTYPE)
    for row, (id_, state, x, y) in zip(rows, tracks, strict=True):
        row["id"], row["state"], row["x"], row["y"], row["score"] = id_, state, x, y, 0.8
    for row, (x, y, score) in zip(found, detections, strict=True):
        row["x"], row["y"], row["score"] = x, y, score
    header = FrameHeader(
        session="s", source="v", seq=seq, frame=seq, pts=seq / 10, capture_mono_ns=0, capture_wall_ns=0,
        height=HEIGHT, width=WIDTH, dtype="uint8", bit_depth=8,
    )  # fmt: skip
    return Tracked(header=header, ego=EgoMotion(), detections=found.tobytes(), tracks=rows.tobytes())


def result(messages: list[Tracked], name: str = "v", medium: Path = Path("v")) -> Result:
    frames = [compare(np.array([TARGET]), m.track_table()) for m in messages]
    return Result(Video("set", name, medium, Path("v.csv")), frames, 10.0, 1.0, 1.0, messages)


def empty(tracks: list[Row], medium: Path = Path("v")) -> Result:
    """A frame without a target."""
    messages = [message(0, tracks)]
    frames = [compare(NO_BOXES, messages[0].track_table())]
    return Result(Video("set", "empty", medium, Path("v.csv")), frames, 10.0, 1.0, 1.0, messages)


def labels(count: int) -> dict[int, list[tuple[float, float, float, float]]]:
    return {seq: [TARGET] for seq in range(count)}


@pytest.mark.parametrize(
    ("tracks", "detections", "why"),
    [
        ([], [], "not detected"),
        ([], [(54.0, 40.0, 0.31), (50.0, 41.0, 0.25)], "detected (0.31), but no track"),
        ([(1, TENTATIVE, 51.0, 40.0)], [(51.0, 40.0, 0.9)], "its track is still tentative"),
        ([(1, CONFIRMED, 58.0, 40.0)], [], "the track is 8 px off (reach 5)"),
        ([(1, CONFIRMED, 90.0, 40.0)], [(90.0, 40.0, 0.9)], "not detected"),
    ],
)
def test_a_missed_target_names_the_last_stage_that_found_it(
    tracks: list[Row], detections: list[tuple[float, float, float]], why: str
) -> None:
    (fault,) = missed(result([message(0, tracks, detections)]), labels(1))
    assert fault == (0, 50.0, 40.0, ("frame 0: missed", why))


def test_missed_frames_are_spread_over_the_video() -> None:
    on = [(1, CONFIRMED, 50.0, 40.0)]
    faults = missed(result([message(seq, on if seq < 10 else []) for seq in range(61)]), labels(61))
    assert [fault.seq for fault in faults] == [10, 20, 30, 40, 50, 60]
    assert missed(result([message(0, on)]), labels(1)) == []


def test_the_longest_false_tracks_are_shown_in_mid_life() -> None:
    def tracks(seq: int) -> list[Row]:
        short = [(20 + seq, CONFIRMED, 5.0, 70.0)]
        return [(1, CONFIRMED, 50.0, 40.0), (7, CONFIRMED, 10.0 + seq, 20.0), *(short if seq < 8 else [])]

    faults = false(result([message(seq, tracks(seq)) for seq in range(11)]))
    assert len(faults) == COLUMNS
    (long,) = [fault for fault in faults if "track 7" in fault.words[0]]
    assert long[:3] == (5, 15.0, 20.0)
    assert long.words[:2] == ("frame 5: false track 7", "shown in 11 frames, moved 10 px")
    assert not any(fault.words[0].endswith("false track 1") for fault in faults)


def test_the_worst_videos_have_low_pd_or_many_false_tracks() -> None:
    on, off = (1, CONFIRMED, 50.0, 40.0), (2, CONFIRMED, 5.0, 5.0)
    good = result([message(0, [on])] * 4, "good")
    blind = result([message(0, [])] * 4, "blind")
    dim = result([message(0, [])] * 2 + [message(0, [on])] * 2, "dim")
    noisy = result([message(0, [on, off])] * 4, "noisy")
    assert [r.video.name for r in worst([good, dim, noisy, blind])] == ["blind", "dim", "noisy"]
    assert [r.video.name for r in worst([good, dim, noisy, blind], most=1)] == ["blind", "noisy"]
    assert worst([good]) == []
    clean, alarmed = empty([]), empty([off])
    assert [r is alarmed for r in worst([clean, alarmed])] == [True]


@pytest.mark.parametrize(
    ("x", "y", "rows", "columns"),
    [(50, 40, (8, 72), (18, 82)), (0, 0, (0, 64), (0, 64)), (99, 79, (16, 80), (36, 100))],
)
def test_a_crop_stays_in_the_picture(x: float, y: float, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert crop(picture, x, y, 64) == (slice(*rows), slice(*columns))
    assert crop(picture[:20, :30], 5, 5, 64) == (slice(0, 20), slice(0, 30))


def test_the_sheet_shows_the_marks(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for seq in range(3):
        picture = np.full((HEIGHT, WIDTH), 90, np.uint8)
        picture[38:43, 48:53] = 200
        assert cv2.imwrite(str(tmp_path / "v" / f"{seq}.png"), picture)
    on, off = (1, CONFIRMED, 50.0, 40.0), (2, CONFIRMED, 30.0, 40.0)
    messages = [message(0, [(1, TENTATIVE, 50.0, 40.0)]), message(1, [on, off]), message(2, [on, off])]
    path = write(result(messages, medium=tmp_path / "v"), labels(3), CaptureConfig(), tmp_path)
    assert path == tmp_path / "set_v.png"
    sheet = cv2.imread(str(path))
    assert sheet is not None
    for colour in (GREEN, BLUE, RED, GREY):
        assert (sheet == colour).all(axis=2).sum() > 20, colour
    with pytest.raises(ConfigError, match=r"set_v\.png: cannot be written"):
        write(result(messages, medium=tmp_path / "v"), labels(3), CaptureConfig(), tmp_path / "gone")


def test_a_false_track_is_drawn_where_there_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    assert cv2.imwrite(str(tmp_path / "v" / "0.png"), np.full((HEIGHT, WIDTH), 90, np.uint8))
    path = write(empty([(2, CONFIRMED, 30.0, 40.0)], tmp_path / "v"), {}, CaptureConfig(), tmp_path)
    sheet = cv2.imread(str(path))
    assert sheet is not None
    assert (sheet == RED).all(axis=2).sum() > 20


def test_a_dim_target_is_seen_beside_a_bright_building(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    picture = np.full((HEIGHT, WIDTH), 60, np.uint8)
    picture[60:] = 255
    picture[40, 50] = 84
    assert cv2.imwrite(str(tmp_path / "v" / "0.png"), picture)
    path = write(result([message(0, [])], medium=tmp_path / "v"), labels(1), CaptureConfig(), tmp_path)
    sheet = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    # The second tile, after the overview of 320 px and a gap, below two lines of heading.
    rows, columns = crop(picture, *TARGET[:2], 64)
    top, left = 44 + 4 * (40 - rows.start), 328 + 4 * (50 - columns.start)
    target, beside = sheet[top : top + 4, left : left + 4], sheet[top : top + 4, left + 4 : left + 8]
    assert target.min() > beside.max() + 100
