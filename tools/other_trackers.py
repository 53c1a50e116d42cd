"""Trackers of the library ``trackers`` (Apache-2.0, optional), set up for points: similar is what is near."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import CONFIRMED, TRACK_DTYPE, Detected, Table

try:
    from supervision import Detections
    from trackers import ByteTrackTracker, OCSORTTracker
    from trackers.utils.iou import BaseIoU
except ImportError:
    ByteTrackTracker = OCSORTTracker = BaseIoU = Detections = None

Library = Any
AVAILABLE = ByteTrackTracker is not None
REACH_PX = 6.0
BOX_PX = 5.0
COAST_FRAMES = 15
HITS = 3
MIN_SIMILARITY = 0.05


class CentreSimilarity(BaseIoU or object):  # type: ignore[misc]
    """1 at no distance, 0 from ``REACH_PX`` on."""

    def _compute(self, boxes_1: NDArray[Any], boxes_2: NDArray[Any]) -> NDArray[Any]:
        one, other = ((boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (boxes_1, boxes_2))
        distance = np.linalg.norm(one[:, None] - other[None], axis=2)
        similarity: NDArray[Any] = np.clip(1 - distance / REACH_PX, 0, 1)
        return similarity


def byte_track(rate: float, threshold: float) -> Library:
    """ByteTrack with the similarity of centres.

    Args:
        rate: frames per second.
        threshold: score of strong detections, which are matched first and may start tracks.
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
    """OC-SORT likewise."""
    return OCSORTTracker(
        lost_track_buffer=COAST_FRAMES,
        frame_rate=rate,
        high_conf_det_threshold=threshold,
        minimum_consecutive_frames=HITS,
        minimum_iou_threshold=MIN_SIMILARITY,
        iou=CentreSimilarity(),
    )


def boxed(points: NDArray[Any], detections: Table) -> Any:
    """Detections as the library has them: boxes of ``BOX_PX`` around points.

    Args:
        points: (n, 2) px.
        detections: (n,) their scores; the library keeps their row numbers.
    """
    boxes = np.concatenate([points - BOX_PX / 2, points + BOX_PX / 2], axis=1)
    return Detections(xyxy=boxes, confidence=detections["score"], data={"row": np.arange(len(boxes))})


def named(answer: Any) -> tuple[list[int], list[int]]:
    """Rows of the detections that the library has put on a track, and the tracks' ids, from 1."""
    known = answer[answer.tracker_id >= 0] if len(answer) else answer
    if not len(known):
        return [], []
    return list(known.data.get("row", ())), [int(id_) + 1 for id_ in known.tracker_id]


def tracked(tracker: Library, seen: Sequence[Detected]) -> Iterator[Table]:
    """Tracks, rows of ``TRACK_DTYPE``, of every frame.

    The library has no ego-motion: detections are given in the coordinates of the first frame of a scene.
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
    """Detections as confirmed tracks with these numbers."""
    tracks = np.zeros(len(detections), TRACK_DTYPE)
    for column in set(detections.dtype.names or ()) & set(tracks.dtype.names or ()):
        tracks[column] = detections[column]
    tracks["id"] = ids
    tracks["state"] = CONFIRMED
    return tracks


def frame_rate(seen: Sequence[Detected]) -> float:
    """Frames per second by their media time; 30 where that does not tell."""
    pts = [message.header.pts for message in seen]
    return (len(pts) - 1) / (pts[-1] - pts[0]) if len(pts) > 1 and pts[-1] > pts[0] else 30.0
