"""Trackers of the library ``trackers`` (Apache-2.0, optional), set up for points: they match by centre distance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import CONFIRMED, TRACK_DTYPE, Detected, Table

AVAILABLE = find_spec("trackers") is not None
if AVAILABLE:
    from supervision import Detections
    from trackers import ByteTrackTracker, OCSORTTracker
    from trackers.utils.iou import BaseIoU

Library = Any
REACH_PX = 6.0  # centre distance at which similarity is 0
BOX_PX = 5.0  # side of the box around a point
COAST_FRAMES = 15  # the library's ``lost_track_buffer``
HITS = 3  # consecutive frames that confirm a track
MIN_SIMILARITY = 0.05


class CentreSimilarity(BaseIoU if AVAILABLE else object):  # type: ignore[misc]
    """Similarity by centre distance: 1 at distance 0, falling linearly to 0 at ``REACH_PX``."""

    def _compute(self, boxes_1: NDArray[Any], boxes_2: NDArray[Any]) -> NDArray[Any]:
        one, other = ((boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (boxes_1, boxes_2))
        distance = np.linalg.norm(one[:, None] - other[None], axis=2)
        similarity: NDArray[Any] = np.clip(1 - distance / REACH_PX, 0, 1)
        return similarity


def byte_track(rate: float, threshold: float) -> Library:
    """Create ByteTrack with the similarity of centres.

    Args:
        rate: frame rate, frames per second.
        threshold: score of high-confidence detections, which are matched first and may start tracks.
    """
    return ByteTrackTracker(
        lost_track_buffer=COAST_FRAMES,
        frame_rate=rate,
        track_activation_threshold=threshold,
        high_conf_det_threshold=threshold,
        minimum_consecutive_frames=HITS,
        minimum_iou_threshold=MIN_SIMILARITY,
        iou=CentreSimilarity(),
    )


def oc_sort(rate: float, threshold: float) -> Library:
    """Create OC-SORT with the similarity of centres; see ``byte_track``."""
    return OCSORTTracker(
        lost_track_buffer=COAST_FRAMES,
        frame_rate=rate,
        high_conf_det_threshold=threshold,
        minimum_consecutive_frames=HITS,
        minimum_iou_threshold=MIN_SIMILARITY,
        iou=CentreSimilarity(),
    )


def boxed(points: NDArray[Any], detections: Table) -> Any:
    """Convert detections to the format of the library: boxes of ``BOX_PX`` around points.

    Args:
        points: (n, 2) positions in px.
        detections: (n,) table whose scores are used. The row numbers travel along in the library's data.
    """
    boxes = np.concatenate([points - BOX_PX / 2, points + BOX_PX / 2], axis=1)
    return Detections(xyxy=boxes, confidence=detections["score"], data={"row": np.arange(len(boxes))})


def named(answer: Any) -> tuple[list[int], list[int]]:
    """Return the rows of the detections that the library assigned to tracks, and the track ids, counted from 1."""
    known = answer[answer.tracker_id >= 0] if len(answer) else answer
    if not len(known):
        return [], []
    return list(known.data.get("row", ())), [int(id_) + 1 for id_ in known.tracker_id]


def tracked(tracker: Library, seen: Sequence[Detected]) -> Iterator[Table]:
    """Yield the tracks of every frame, rows of ``TRACK_DTYPE``, that have a detection in it.

    Unlike ours, tracks without one are not shown, because the library does not tell where it expects them. It does not
    compensate ego-motion, so detections are passed in the coordinates of the first frame.
    """
    to_start = np.eye(3)
    for message in seen:
        if message.ego.ok:
            matrix = np.reshape(message.ego.matrix, (2, 3))
            to_start = to_start @ np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        detections = message.table()
        points = np.stack([detections["x"], detections["y"]], axis=1)
        fixed = points @ to_start[:2, :2].T + to_start[:2, 2]
        rows, ids = named(tracker.update(boxed(fixed, detections)))
        yield shown(detections[rows], ids)


def shown(detections: Table, ids: Sequence[int]) -> Table:
    """Convert detections to confirmed tracks with the given ids."""
    tracks = np.zeros(len(detections), TRACK_DTYPE)
    for column in set(detections.dtype.names or ()) & set(tracks.dtype.names or ()):
        tracks[column] = detections[column]
    tracks["id"] = ids
    tracks["state"] = CONFIRMED
    return tracks


def frame_rate(seen: Sequence[Detected]) -> float:
    """Return the frame rate by media time; 30 if it cannot be determined."""
    pts = [message.header.pts for message in seen]
    return (len(pts) - 1) / (pts[-1] - pts[0]) if len(pts) > 1 and pts[-1] > pts[0] else 30.0
