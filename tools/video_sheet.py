"""Contact sheets of the worst videos: missed targets and false tracks, with the pipeline's output around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.config import CaptureConfig
from pipeline.capture.factory import open_source
from pipeline.capture.source import Picture
from pipeline.errors import ConfigError
from pipeline.messages import TENTATIVE, Tracked
from tools.mot_metrics import reach
from tools.video_figures import Boxes, Result, false_tracks, found, told

Canvas = NDArray[np.uint8]
Colour = tuple[int, int, int]

SCALE = 4  # enlargement of crops
CROP = 64  # side of a crop, px of the video
COLUMNS = 6  # most crops per row
VIDEOS = 3  # most videos chosen by each criterion
GREEN: Colour = (90, 235, 90)
BLUE: Colour = (255, 190, 60)
RED: Colour = (80, 80, 255)
GREY: Colour = (170, 170, 170)
WHITE: Colour = (235, 235, 235)
BACKGROUND: Colour = (28, 28, 28)
LEGEND = (("target", GREEN), ("track on it", BLUE), ("false track", RED), ("tentative track", GREY))
_FONT, _FONT_SCALE, _LINE, _GAP = cv2.FONT_HERSHEY_SIMPLEX, 0.45, 18, 8
_MIN_CONTRAST = 24  # grey levels; a smaller range is not stretched to the full one
_NUMBER_PX = 14  # positions closer than this in the overview share one label


class Fault(NamedTuple):
    """A missed target or a false track at one place of one frame.

    Attributes:
        seq: number of the frame in the run.
        x, y: position, px.
        words: lines of text that describe the error.
    """

    seq: int
    x: float
    y: float
    words: tuple[str, ...]


def worst(results: Sequence[Result], most: int = VIDEOS) -> list[Result]:
    """Return the videos with the lowest Pd and those with the most false tracks per minute.

    At most ``most`` of each. Videos with Pd 1 or without false tracks are not chosen for that reason.
    """
    figures = [found([result]) for result in results]
    missing = [k for k, figure in enumerate(figures) if figure["pd"] is not None and figure["pd"] < 1]
    false = [k for k, figure in enumerate(figures) if figure["false_tracks"]]
    chosen = sorted(missing, key=lambda k: figures[k]["pd"])[:most]
    chosen += sorted(false, key=lambda k: -(figures[k]["false_tracks_per_minute"] or 0))[:most]
    return [results[k] for k in dict.fromkeys(chosen)]


def missed(result: Result, labels: Boxes, most: int = COLUMNS) -> list[Fault]:
    """Sample targets without a track evenly over the video, with the stage up to which each was still found."""
    faults = []
    for seq, (frame, message) in enumerate(zip(result.frames, result.messages, strict=True)):
        for target in np.flatnonzero(~frame.near.any(axis=1)).tolist():
            faults.append((seq, message, labels[message.header.frame][target]))
    return [
        Fault(
            seq, x, y, (f"frame {message.header.frame}: missed", _why_missed(message, x, y, float(reach([[w, h]])[0])))
        )
        for seq, message, (x, y, w, h) in _spread(faults, most)
    ]


def false(result: Result, most: int = COLUMNS) -> list[Fault]:
    """Return the false tracks that were shown in most frames, each at the middle one of its frames."""
    lives: dict[int, list[int]] = {id_: [] for id_ in false_tracks(result.frames)}
    for seq, frame in enumerate(result.frames):
        for id_ in set(frame.track_ids.tolist()) & lives.keys():
            lives[id_].append(seq)
    faults = []
    for id_, seqs in sorted(lives.items(), key=lambda item: (-len(item[1]), item[0]))[:most]:
        places = [_track(result.messages[seq], id_) for seq in seqs]
        row, seq = places[len(places) // 2], seqs[len(seqs) // 2]
        moved = float(np.hypot(places[-1]["x"] - places[0]["x"], places[-1]["y"] - places[0]["y"]))
        words = (
            f"frame {result.messages[seq].header.frame}: false track {id_}",
            f"shown in {len(seqs)} frames, moved {moved:.0f} px",
            f"score {row['score']:.2f}, SNR {row['snr']:.1f}, area {row['area']:.0f} px",
        )
        faults.append(Fault(seq, float(row["x"]), float(row["y"]), words))
    return sorted(faults)


def write(result: Result, labels: Boxes, capture: CaptureConfig, folder: Path) -> Path:
    """Draw the contact sheet of a video as ``folder/SET_NAME.png`` and return its path.

    Args:
        result: the result of the video, including its messages.
        labels: labels of the video.
        capture: capture settings that the video was read with.
        folder: existing output folder.

    Raises:
        SourceError: the video cannot be read again.
        ConfigError: the picture cannot be written.
    """
    rows = [faults for faults in (missed(result, labels), false(result)) if faults]
    pictures = _pictures(result, capture, {fault.seq for faults in rows for fault in faults})
    figures = found([result])
    title = (
        f"{result.video.group}/{result.video.name}    {len(result.frames)} frames    Pd {told(figures['pd'])}    "
        f"frames to confirm: {'never' if figures['never_found'] else told(figures['frames_to_confirm'])}    "
        f"false tracks: {figures['false_tracks']} ({told(figures['false_tracks_per_minute'])} per minute)"
    )
    canvas = _stack([_heading(title), *(_row(faults, result, labels, pictures) for faults in rows)])
    path = folder / f"{result.video.group}_{result.video.name}.png"
    if not cv2.imwrite(str(path), canvas):
        raise ConfigError(f"{path}: cannot be written")
    return path


def crop(picture: Picture, x: float, y: float, side: int) -> tuple[slice, slice]:
    """Return the rows and columns of a square crop of ``side`` px around a position.

    The crop is shifted to lie inside the picture, and cut down where the picture is smaller.
    """
    (top, bottom), (left, right) = (
        (start, min(start + side, length))
        for start, length in (
            (int(np.clip(round(at) - side // 2, 0, max(0, length - side))), length)
            for at, length in ((y, picture.shape[0]), (x, picture.shape[1]))
        )
    )
    return slice(top, bottom), slice(left, right)


def _spread(things: Sequence[tuple], most: int) -> list[tuple]:  # type: ignore[type-arg]
    """Return up to ``most`` evenly spaced items, including the first and the last."""
    return [things[k] for k in np.unique(np.linspace(0, len(things) - 1, most).round().astype(int))] if things else []


def _why_missed(message: Tracked, x: float, y: float, radius: float) -> str:
    tracks, detections = message.track_table(), message.detection_table()
    tentative = tracks["state"] == TENTATIVE
    to_track = np.hypot(tracks["x"] - x, tracks["y"] - y)
    to_detection = np.hypot(detections["x"] - x, detections["y"] - y)
    if (tentative & (to_track <= radius)).any():
        return "its track is still tentative"
    if (to_detection <= radius).any():
        return f"detected ({detections['score'][to_detection <= radius].max():.2f}), but no track"
    if (~tentative & (to_track <= 3 * radius)).any():
        return f"the track is {to_track[~tentative].min():.0f} px off (reach {radius:.0f})"
    return "not detected"


def _track(message: Tracked, id_: int) -> np.void:
    tracks = message.track_table()
    row: np.void = tracks[tracks["id"] == id_][0]
    return row


def _pictures(result: Result, capture: CaptureConfig, wanted: set[int]) -> dict[int, Picture]:
    """Read the pictures of some frames, by frame number in the run."""
    source = open_source(str(result.video.medium), capture)
    pictures: dict[int, Picture] = {}
    source.open()
    try:
        for seq in range(max(wanted, default=-1) + 1):
            if (grab := source.grab()) is None:
                break
            if seq in wanted:
                pictures[seq] = grab.picture
    finally:
        source.close()
    return pictures


def _row(faults: Sequence[Fault], result: Result, labels: Boxes, pictures: Mapping[int, Picture]) -> Canvas:
    """Draw the whole picture with numbered positions, followed by a crop for each."""
    tiles = [_overview(faults, pictures[faults[0].seq])]
    for number, fault in enumerate(faults, start=1):
        first, *rest = fault.words
        tiles.append(_captioned(_tile(fault, result, labels, pictures[fault.seq]), (f"{number}  {first}", *rest)))
    height = max(tile.shape[0] for tile in tiles)
    return np.hstack([_padded(tile, height, tile.shape[1] + _GAP) for tile in tiles])


def _tile(fault: Fault, result: Result, labels: Boxes, picture: Picture) -> Canvas:
    rows, columns = crop(picture, fault.x, fault.y, CROP)
    # Stretched to the near surroundings; otherwise a bright tree in the corner would hide dim targets.
    canvas = _bright(picture[rows, columns], picture[crop(picture, fault.x, fault.y, CROP // 4)])
    canvas = np.repeat(np.repeat(canvas, SCALE, axis=0), SCALE, axis=1)
    message, frame = result.messages[fault.seq], result.frames[fault.seq]
    right = set(frame.track_ids[frame.near.any(axis=0)].tolist())
    origin = np.array([columns.start, rows.start])
    for track in np.sort(message.track_table(), order="state"):
        tentative = track["state"] == TENTATIVE
        colour = GREY if tentative else BLUE if int(track["id"]) in right else RED
        size = np.maximum((track["bw"], track["bh"]), 1) + 4
        _box(canvas, np.array([track["x"], track["y"]]) - origin, size, colour, "" if tentative else str(track["id"]))
    for x, y, w, h in labels.get(message.header.frame, ()):
        _box(canvas, np.array([x, y]) - origin, np.nan_to_num([w, h], nan=10.0), GREEN)
    return canvas


def _overview(faults: Sequence[Fault], picture: Picture) -> Canvas:
    scale = CROP * SCALE / picture.shape[0]
    grey = _bright(picture, picture)
    canvas = np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    numbers: dict[tuple[int, int], list[str]] = {}
    for number, fault in enumerate(faults, start=1):
        at = (int((fault.x + 0.5) * scale), int((fault.y + 0.5) * scale))
        near = next((other for other in numbers if np.hypot(other[0] - at[0], other[1] - at[1]) < _NUMBER_PX), at)
        numbers.setdefault(near, []).append(str(number))
    for (x, y), names in numbers.items():
        cv2.circle(canvas, (x, y), 6, WHITE, 1, cv2.LINE_AA)
        _text(canvas, ",".join(names), x + 8, y + 5, WHITE)
    return _captioned(canvas, ("positions of the crops on the right",))


def _bright(part: Picture, reference: Picture) -> Canvas:
    """Convert native counts to grey BGR, stretched to the range of a reference; noise alone does not fill the range."""
    low, high = np.percentile(reference, (0.5, 99.8))
    middle, width = (low + high) / 2, max(high - low, _MIN_CONTRAST if part.dtype == np.uint8 else 1)
    grey = np.clip((part - middle) / width * 255 + 128, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


def _box(
    canvas: Canvas, centre: NDArray[np.float64], size: NDArray[np.float64], colour: Colour, name: str = ""
) -> None:
    """Draw a rectangle around a position in the crop (px) with its name beside it."""
    left, top = (int(v) for v in np.round((centre - size / 2 + 0.5) * SCALE))
    right, bottom = (int(v) for v in np.round((centre + size / 2 + 0.5) * SCALE))
    cv2.rectangle(canvas, (left - 1, top - 1), (right + 1, bottom + 1), (0, 0, 0), 1)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, 1)
    if name:
        _text(canvas, name, right + 4, top + 5, colour)


def _text(canvas: Canvas, text: str, x: int, y: int, colour: Colour) -> None:
    cv2.putText(canvas, text, (x + 1, y + 1), _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(canvas, text, (x, y), _FONT, _FONT_SCALE, colour, 1, cv2.LINE_AA)


def _captioned(tile: Canvas, words: Iterable[str]) -> Canvas:
    lines = list(words)
    canvas = _padded(tile, tile.shape[0] + _LINE * len(lines) + _GAP, tile.shape[1])
    for k, line in enumerate(lines, start=1):
        _text(canvas, line, 2, tile.shape[0] + _LINE * k - 3, WHITE)
    return canvas


def _heading(title: str) -> Canvas:
    canvas = np.full((2 * _LINE + _GAP, 1100, 3), BACKGROUND, np.uint8)
    _text(canvas, title, 2, _LINE - 3, WHITE)
    x = 2
    for word, colour in LEGEND:
        _text(canvas, word, x, 2 * _LINE - 3, colour)
        x += cv2.getTextSize(word, _FONT, _FONT_SCALE, 1)[0][0] + 24
    return canvas


def _stack(rows: Sequence[Canvas]) -> Canvas:
    width = max(row.shape[1] for row in rows)
    return np.vstack([_padded(row, row.shape[0], width) for row in rows])


def _padded(canvas: Canvas, height: int, width: int) -> Canvas:
    padded = np.full((height, width, 3), BACKGROUND, np.uint8)
    padded[: canvas.shape[0], : canvas.shape[1]] = canvas
    return padded
