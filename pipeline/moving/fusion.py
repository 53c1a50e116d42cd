"""Fusion of the network's detections with those of motion."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.detect.components import DetectionFilter, find
from pipeline.messages import Table
from pipeline.moving.prominence import prominence
from pipeline.moving.sharpness import Sharpness

START_MARGIN, KEEP_MARGIN = 0.3, 0.3
"""Margins around the motion threshold in standard deviations. Peaks that exceed it by the first may start a track;
peaks no further below it than the second may only keep a track alive; lower peaks are noise."""
_MIN_SLOPE = 8.0  # log odds per standard deviation
_LLR_PER_LOGIT, _NEUTRAL_LOGIT = 0.3, -7.0
NETWORK_LLR_RANGE = (-1.5, 3.0)
"""Limits of the network's log-likelihood ratio for a change, in nats. On 6,300 motion peaks of held-out recordings and
scenes the log ratio of targets to other peaks, as a function of the network's logit, levels off at these values;
``_LLR_PER_LOGIT`` is its slope in between."""
REACH_PX = 5.0
"""A motion detection within this distance in px of the box of a network detection is the same object."""


def motion_detections(
    exceeding: Table,
    picture: Picture,
    *,
    start_score: float,
    low_score: float,
    max_area: int,
    limit: int,
    keep: DetectionFilter | None = None,
) -> Table:
    """Convert motion peaks to detections.

    The log odds of the score are linear in the excess over the threshold: a peak ``START_MARGIN`` above its threshold
    scores ``start_score``, one ``KEEP_MARGIN`` below it at most ``low_score``. The tracker can therefore treat
    detections of the network and of motion alike.

    Args:
        exceeding: Pixels near or above their threshold, rows of ``EXCEEDING_DTYPE``.
        picture: (H, W) native counts.
        start_score: Score from which a detection may start a track.
        low_score: Lowest score of a usable detection, at most ``start_score``.
        max_area: Largest area in pixels; larger detections are dropped.
        limit: Maximum number of detections; those with the highest scores are kept.
        keep: Filter of detections, see ``components.find``.

    Returns:
        Detections as rows of ``DETECTION_DTYPE``, highest score first, with ``motion`` set.
    """
    probability, significance = np.zeros((2, *picture.shape), np.float32)
    slope = max((_logit(start_score) - _logit(low_score)) / (START_MARGIN + KEEP_MARGIN), _MIN_SLOPE)
    # Above this a float32 probability is no longer distinguishable from 1.
    odds = np.minimum(_logit(start_score) + slope * (exceeding["over"] - START_MARGIN), 15)
    np.put(probability, exceeding["at"], 1 / (1 + np.exp(-odds)))
    np.put(significance, exceeding["at"], exceeding["significance"])
    detections = find(
        probability,
        picture,
        threshold=low_score,
        low_threshold=low_score,
        min_area=1,
        max_area=max_area,
        max_detections=limit,
        keep=keep,
    )
    detections["motion"] = _max_in_boxes(significance, detections)
    return detections


def merge(network: Table, motion: Table, *, start_score: float, limit: int) -> Table:
    """Merge the detections of the network and of motion into one table.

    An object found by both keeps the network's row. If the network's score is below ``start_score`` and that of motion
    is higher, the row gets the score and the ``motion`` value of the motion detection.

    Args:
        network: Detections of the network, ``DETECTION_DTYPE``.
        motion: Detections of motion, ``DETECTION_DTYPE``.
        start_score: Score from which a detection may start a track.
        limit: Maximum number of detections to return.

    Returns:
        Detections as rows of ``DETECTION_DTYPE``, highest score first.
    """
    if not len(motion):
        return network
    network = network.copy()
    same = _within_reach(network, motion)
    score, significance = (np.where(same, motion[name], 0.0).max(axis=1, initial=0.0) for name in ("score", "motion"))
    raised = (network["score"] < start_score) & (score > network["score"])
    network["score"][raised], network["motion"][raised] = score[raised], significance[raised]
    merged = np.concatenate([network, motion[~same.any(axis=0)]])
    order = np.lexsort((merged["x"], merged["y"], -merged["score"]))
    return merged[order[:limit]]


def with_appearance(detections: Table, sharpness: Sharpness, probability: NDArray[np.float32] | None) -> Table:
    """Return a copy of the detections with ``appearance`` set.

    ``appearance`` is a log-likelihood ratio in nats. It sums the terms for sharpness, for contrast with the
    surroundings (motion detections only, since the network already requires contrast) and for the output of a network
    that has the change picture as an input.

    Args:
        detections: Detections of the network and of motion.
        sharpness: Sharpness of the frame.
        probability: (H, W) output of a network that sees the change picture, None for one that does not.
    """
    detections = detections.copy()
    contrast_llr = np.where(detections["motion"] > 0, sharpness.weight * prominence(detections["snr"]), 0.0)
    detections["appearance"] = (
        sharpness.log_likelihood_ratio(_max_in_boxes(sharpness.picture, detections)) + contrast_llr
    )
    if probability is not None:
        detections["appearance"] += network_llr(_max_in_boxes(probability, detections))
    return detections


def network_llr(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-likelihood ratio (n,) in nats of target versus chance motion peak, given network probabilities (n,)."""
    clipped = np.clip(probability, 1e-12, 1 - 1e-7)
    logits = np.log(clipped / (1 - clipped))
    return np.asarray(np.clip(_LLR_PER_LOGIT * (logits - _NEUTRAL_LOGIT), *NETWORK_LLR_RANGE))


def _within_reach(network: Table, motion: Table) -> NDArray[np.bool_]:
    """Return (n, m) flags: the m-th motion detection is within ``REACH_PX`` of the n-th network box."""
    inside = np.ones((len(network), len(motion)), bool)
    for place, corner, side in (("x", "bx", "bw"), ("y", "by", "bh")):
        low, high = network[corner] - REACH_PX, network[corner] + network[side] - 1 + REACH_PX
        inside &= (motion[place] >= low[:, None]) & (motion[place] <= high[:, None])
    return inside


def _max_in_boxes(picture: NDArray[np.float32], detections: Table) -> NDArray[np.float64]:
    corners, sides = detections[["bx", "by"]].tolist(), detections[["bw", "bh"]].tolist()
    boxes = [
        (slice(int(y), int(y + height)), slice(int(x), int(x + width)))
        for (x, y), (width, height) in zip(corners, sides, strict=True)
    ]
    return np.array([float(picture[box].max()) for box in boxes])


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
