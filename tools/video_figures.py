"""Figures of labelled videos from per-frame comparisons: per video, and pooled by set and by class.

Figures that need a target (Pd, HOTA, MOTA, IDF1) are None where no frame has one. False tracks of such videos still
count, also in the figures of a set that has targets in other videos.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.messages import Tracked
from tools import mot_metrics
from tools.gospa import gospa
from tools.gospa import mean as mean_gospa

# A missed target or a false track costs 5 px, as much as a pair at the smallest match radius.
GOSPA_CUTOFF_PX = 2 * mot_metrics.MIN_REACH_PX
Boxes = Mapping[int, Sequence[tuple[float, float, float, float]]]
"""Targets by frame: (centre x, centre y, w, h) in px; the size of a point is nan."""
_CLASS = re.compile(r"_([A-Za-z]+)_\d+$")


class Video(NamedTuple):
    """A labelled video: its set, name, recording and label file."""

    group: str
    name: str
    medium: Path
    labels: Path

    @property
    def kind(self) -> str:
        """Class of the target if the name ends in a class and a number (IR_DRONE_014: drone), else empty."""
        match = _CLASS.search(self.name)
        return match[1].lower() if match else ""


class Result(NamedTuple):
    """Output of the pipeline on one video, compared with the ground truth.

    Attributes:
        frames: the comparison of each frame, input of the metrics.
        fps: frame rate of the recording; nan if it is not known.
        seconds: wall time of all frames but the first, which waits for the network to load; 0 if not measured.
        detections: mean number of detections per frame, before tracking.
        messages: tracker messages of all frames, for contact sheets; empty if not requested.
    """

    video: Video
    frames: list[mot_metrics.Frame]
    fps: float
    seconds: float
    detections: float
    messages: Sequence[Tracked] = ()


def false_tracks(frames: Sequence[mot_metrics.Frame]) -> set[int]:
    """Return the ids of the tracks of one video that were never within the match radius of a target."""
    shown = {int(id_) for f in frames for id_ in f.track_ids}
    return shown - {int(id_) for f in frames for id_ in f.track_ids[f.near.any(axis=0)]}


def frames_to_confirm(frames: Sequence[mot_metrics.Frame]) -> int | None:
    """Count the frames from the first target to the first track on a target; None if there is no such track."""
    labelled = [k for k, f in enumerate(frames) if len(f.truth_ids)]
    return next((k - labelled[0] for k in labelled if frames[k].near.any()), None)


def found(results: Sequence[Result]) -> dict[str, Any]:
    """Compute the figures that a detection threshold trades off: Pd, delay of confirmation and false tracks."""
    clear = mot_metrics.clear(_pooled(results))
    false = [len(false_tracks(result.frames)) for result in results]
    # A video without a frame rate, such as one of a single frame, adds neither minutes nor tracks to the rate.
    timed = [(count, len(r.frames) / r.fps / 60) for count, r in zip(false, results, strict=True) if r.fps > 0]
    minutes = sum(length for _, length in timed)
    with_target = [result for result in results if any(len(f.truth_ids) for f in result.frames)]
    waits = [(result.video.name, frames_to_confirm(result.frames)) for result in with_target]
    hits = [wait for _, wait in waits if wait is not None]
    return {
        "pd": _rounded(clear.pd, 4),
        "false_points_per_frame": round(clear.false_positives / max(1, sum(len(r.frames) for r in results)), 3),
        "false_tracks": sum(false),
        "minutes": round(minutes, 3),
        "false_tracks_per_minute": round(sum(count for count, _ in timed) / minutes, 2) if minutes else None,
        "frames_to_confirm": statistics.median(hits) if hits else None,
        "frames_to_confirm_p90": round(float(np.percentile(hits, 90)), 1) if hits else None,
        "never_found": len(waits) - len(hits),
        "never_found_videos": [name for name, wait in waits if wait is None],
    }


def summarise(results: Sequence[Result]) -> dict[str, Any]:
    """Compute all figures over several videos. Trajectories of different videos are never the same.

    ``frames_to_confirm`` covers only the videos in which a target was found. GOSPA is the mean over all frames, with
    exponent 1 and cutoff ``GOSPA_CUTOFF_PX``.
    """
    pooled, seconds = _pooled(results), sum(r.seconds for r in results)
    timed = sum(len(r.frames) - 1 for r in results if r.seconds)
    hota, clear, identity = mot_metrics.hota(pooled), mot_metrics.clear(pooled), mot_metrics.identity(pooled)
    gospa_px = mean_gospa(gospa(f.distance, GOSPA_CUTOFF_PX) for f in pooled) if pooled else None
    return {
        "videos": len(results),
        "frames": len(pooled),
        "hota": _rounded(hota.hota, 4),
        "det_a": _rounded(hota.det_a, 4),
        "ass_a": _rounded(hota.ass_a, 4),
        "mota": _rounded(clear.mota, 4),
        "idf1": _rounded(identity.idf1, 4),
        "switches": clear.switches,
        "motp_px": _rounded(clear.motp_px, 2),
        "gospa_px": round(gospa_px.value, 3) if gospa_px else None,
        "gospa_localisation_px": round(gospa_px.localisation, 3) if gospa_px else None,
        "gospa_missed_px": round(gospa_px.missed, 3) if gospa_px else None,
        "gospa_false_px": round(gospa_px.false, 3) if gospa_px else None,
        **found(results),
        "detections_per_frame": round(statistics.fmean(r.detections for r in results), 2),
        "fps": round(timed / seconds, 1) if seconds else None,
    }


def by_set(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Group results by set, sorted by name."""
    return _grouped(results, [r.video.group for r in results])


def by_class(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Group results by ``set/class``, sorted by name. Videos whose name contains no class are left out."""
    named = [result for result in results if result.video.kind]
    return _grouped(named, [f"{r.video.group}/{r.video.kind}" for r in named])


def table(groups: dict[str, dict[str, Any]]) -> str:
    """Format the figures as a Markdown table with one row per group."""
    columns = {
        "videos": "videos", "frames": "frames", "hota": "HOTA", "mota": "MOTA", "idf1": "IDF1", "switches": "IDSW",
        "pd": "Pd", "false_tracks_per_minute": "false tracks/min", "false_points_per_frame": "false points/frame",
        "gospa_px": "GOSPA px", "frames_to_confirm": "frames to confirm", "frames_to_confirm_p90": "of 90 %",
        "never_found": "never found", "fps": "fps",
    }  # fmt: skip
    lines = ["| set | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in groups.items():
        lines.append(f"| {name} | {' | '.join(told(row[key]) for key in columns)} |")
    return "\n".join(lines)


def told(figure: float | None) -> str:
    """Format a figure for people; None becomes a dash."""
    return "-" if figure is None else str(figure)


def _rounded(figure: float, digits: int) -> float | None:
    return None if math.isnan(figure) else round(figure, digits)


def _pooled(results: Sequence[Result]) -> list[mot_metrics.Frame]:
    """Concatenate the frames of all videos, with ids that are unique across videos."""
    return [
        mot_metrics.Frame(f.truth_ids + offset, f.track_ids + offset, f.distance, f.similarity)
        for offset, result in zip(range(0, len(results) << 32, 1 << 32), results, strict=True)
        for f in result.frames
    ]


def _grouped(results: Sequence[Result], names: Sequence[str]) -> dict[str, list[Result]]:
    groups: defaultdict[str, list[Result]] = defaultdict(list)
    for name, result in zip(names, results, strict=True):
        groups[name].append(result)
    return dict(sorted(groups.items()))
