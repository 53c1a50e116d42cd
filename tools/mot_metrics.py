"""Multi-object tracking metrics on centroids: HOTA, CLEAR (MOTA, MOTP, switches) and IDF1.

A track may match a true target of the same frame within the target's match radius ("reach"), by default max(5 px, half
the diagonal of its box). Similarity falls linearly from 1 at distance 0 to 0.5 at the reach and 0 at twice the reach,
so the usual similarity threshold of 0.5 corresponds to the reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALPHAS = np.arange(1, 20) / 20  # similarity thresholds that HOTA averages over
MATCH_SIMILARITY = 0.5
MIN_REACH_PX = 5.0
_EPS = 1e-9


@dataclass(frozen=True, slots=True)
class Frame:
    """Targets and tracks of one frame and their pairwise distances.

    Attributes:
        truth_ids: (n,) ids of the targets, unique in the frame.
        track_ids: (m,) ids of the tracks, unique in the frame.
        distance: (n, m) distances between centroids, px.
        similarity: (n, m) similarities, 0 to 1.
    """

    truth_ids: Ints
    track_ids: Ints
    distance: Floats
    similarity: Floats

    @property
    def near(self) -> NDArray[np.bool_]:
        """Whether each track is within the reach of each target, (n, m)."""
        within: NDArray[np.bool_] = self.similarity >= MATCH_SIMILARITY - _EPS
        return within


@dataclass(frozen=True, slots=True)
class Hota:
    """HOTA and its factors, averaged over the 19 thresholds, 0 to 1; nan without any target."""

    hota: float
    det_a: float
    ass_a: float
    loc_a: float


@dataclass(frozen=True, slots=True)
class Clear:
    """CLEAR counts over all frames.

    ``motp_px`` is the mean distance of matches in px, nan without a match. ``mota`` is nan without any target.
    """

    mota: float
    motp_px: float
    matches: int
    false_positives: int
    misses: int
    switches: int

    @property
    def pd(self) -> float:
        """Probability of detection: share of the targets that were matched, 0 to 1; nan without any target."""
        targets = self.matches + self.misses
        return self.matches / targets if targets else math.nan


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity scores, 0 to 1: each trajectory is paired with at most one other for the whole recording.

    ``idf1`` and ``recall`` are nan without any target.
    """

    idf1: float
    precision: float
    recall: float


def reach(boxes: ArrayLike) -> Floats:
    """Return the match radius (n,) in px of targets with boxes (n, 2): width and height in px, nan for points."""
    half = np.hypot(*np.asarray(boxes, float).reshape(-1, 2).T) / 2
    radius: Floats = np.fmax(half, MIN_REACH_PX)
    return radius


def frame(
    truth_ids: ArrayLike, truth_xy: ArrayLike, truth_reach: ArrayLike, track_ids: ArrayLike, track_xy: ArrayLike
) -> Frame:
    """Compare the centroids of targets and tracks in one frame.

    Args:
        truth_ids: (n,) ids of the targets.
        truth_xy: (n, 2) positions of the targets in px.
        truth_reach: (n,) or scalar match radius, px > 0.
        track_ids: (m,) ids of the tracks.
        track_xy: (m, 2) positions of the tracks in px.

    Raises:
        ValueError: an id occurs twice.
    """
    truths, tracks = np.asarray(truth_ids, np.int64).reshape(-1), np.asarray(track_ids, np.int64).reshape(-1)
    for name, ids in (("truth", truths), ("track", tracks)):
        if len(np.unique(ids)) != len(ids):
            raise ValueError(f"{name}: an id occurs twice in one frame: {ids.tolist()}")
    offset = np.asarray(truth_xy, float).reshape(-1, 1, 2) - np.asarray(track_xy, float).reshape(1, -1, 2)
    distance = np.hypot(offset[..., 0], offset[..., 1])
    radius = np.broadcast_to(np.asarray(truth_reach, float), len(truths))[:, None]
    return Frame(truths, tracks, distance, np.clip(1 - distance / (2 * radius), 0, 1))


def hota(frames: Sequence[Frame]) -> Hota:
    """Compute higher-order tracking accuracy (Luiten et al., IJCV 2021).

    One assignment per frame serves all thresholds. It prefers pairs of trajectories that agree over the whole recording
    (global alignment score, section 5.3).
    """
    frames, truth_count, track_count = _dense(frames)
    if not truth_count.size:
        return Hota(math.nan, math.nan, math.nan, math.nan)
    together = np.zeros((len(truth_count), len(track_count)))
    for f in frames:
        union = f.similarity.sum(axis=0, keepdims=True) + f.similarity.sum(axis=1, keepdims=True) - f.similarity
        together[np.ix_(f.truth_ids, f.track_ids)] += f.similarity / np.maximum(union, _EPS)
    alignment = together / np.maximum(truth_count[:, None] + track_count[None, :] - together, _EPS)

    pairs, values = [np.empty((2, 0), np.int64)], [np.empty(0)]
    for f in frames:
        rows, columns = linear_sum_assignment(alignment[np.ix_(f.truth_ids, f.track_ids)] * f.similarity, maximize=True)
        pairs.append(np.stack([f.truth_ids[rows], f.track_ids[columns]]))
        values.append(f.similarity[rows, columns])
    # Only the pairs that meet are counted, which are few: all pairs at every threshold could take gigabytes.
    (truths, tracks), place = np.unique(np.concatenate(pairs, axis=1), axis=1, return_inverse=True)
    place, found = place.reshape(-1), np.concatenate(values)
    accepted = found >= ALPHAS[:, None] - _EPS
    shared = np.array([np.bincount(place[row], minlength=len(truths)) for row in accepted], float)
    similarity = accepted @ found

    matches = shared.sum(axis=1)
    det_a = matches / (truth_count.sum() + track_count.sum() - matches)
    jaccard = shared / np.maximum(truth_count[truths] + track_count[tracks] - shared, 1)
    ass_a = (shared * jaccard).sum(axis=1) / np.maximum(matches, 1)
    loc_a = np.where(matches > 0, similarity / np.maximum(matches, 1), 1.0)
    return Hota(*(float(values.mean()) for values in (np.sqrt(det_a * ass_a), det_a, ass_a, loc_a)))


def clear(frames: Sequence[Frame]) -> Clear:
    """Compute the CLEAR MOT metrics (Bernardin and Stiefelhagen, 2008).

    A pair matched in the previous frame stays matched while it is within reach; all others are matched by similarity.
    A switch is a target matched to a different track than at its last match, however long ago. Frames without targets
    or without tracks do not count as the previous frame, as in TrackEval.
    """
    last: dict[int, int] = {}
    previous: dict[int, int] = {}
    matches = false_positives = misses = switches = 0
    distance = 0.0
    for f in frames:
        kept = np.array([[previous.get(t) == k for k in f.track_ids.tolist()] for t in f.truth_ids.tolist()], bool)
        may = f.near
        # Keeping a pair outweighs any sum of similarities.
        gain = np.where(may, f.similarity + kept.reshape(may.shape) * 1000.0, 0.0)
        rows, columns = linear_sum_assignment(gain, maximize=True)
        good = may[rows, columns]
        rows, columns = rows[good], columns[good]
        if may.size:
            previous = dict(zip(f.truth_ids[rows].tolist(), f.track_ids[columns].tolist(), strict=True))
        switches += sum(last.get(truth, track) != track for truth, track in previous.items())
        last.update(previous)
        matches += len(rows)
        misses += len(f.truth_ids) - len(rows)
        false_positives += len(f.track_ids) - len(rows)
        distance += float(f.distance[rows, columns].sum())
    targets = matches + misses
    return Clear(
        mota=(matches - false_positives - switches) / targets if targets else math.nan,
        motp_px=distance / matches if matches else math.nan,
        matches=matches,
        false_positives=false_positives,
        misses=misses,
        switches=switches,
    )


def identity(frames: Sequence[Frame]) -> Identity:
    """Compute identity F1, precision and recall (Ristani et al., ECCVW 2016)."""
    frames, truth_count, track_count = _dense(frames)
    shared = np.zeros((len(truth_count), len(track_count)))
    for f in frames:
        shared[np.ix_(f.truth_ids, f.track_ids)] += f.near
    rows, columns = linear_sum_assignment(shared, maximize=True)
    hits, truths, tracks = shared[rows, columns].sum(), truth_count.sum(), track_count.sum()
    return Identity(
        idf1=float(2 * hits / (truths + tracks)) if truths else math.nan,
        precision=float(hits / max(tracks, 1)),
        recall=float(hits / truths) if truths else math.nan,
    )


def _dense(frames: Sequence[Frame]) -> tuple[list[Frame], Floats, Floats]:
    """Renumber the ids to 0..n-1, and count the frames of each target and each track."""

    def ranks(columns: list[Ints]) -> tuple[list[Ints], Floats]:
        joined = np.concatenate([np.empty(0, np.int64), *columns])
        _, inverse, counts = np.unique(joined, return_inverse=True, return_counts=True)
        return np.split(inverse, np.cumsum([len(c) for c in columns])[:-1]), counts.astype(float)

    truths, truth_count = ranks([f.truth_ids for f in frames])
    tracks, track_count = ranks([f.track_ids for f in frames])
    renamed = [Frame(a, b, f.distance, f.similarity) for a, b, f in zip(truths, tracks, frames, strict=False)]
    return renamed, truth_count, track_count
