"""Detections of the network and of motion as one table."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.detect.components import DetectionFilter, find
from pipeline.messages import Table
from pipeline.moving.prominence import prominence
from pipeline.moving.sharpness import Sharpness

STRONG, WEAK = 0.3, 0.3
"""Peaks so many standard deviations above the threshold may start a track, those so many below it are of use still, to
keep one; lower ones are noise."""
_LEAST_SLOPE = 8.0
_SAYS, _NEUTRAL = 0.3, -7.0
SAID = (-1.5, 3.0)
"""Nats that a network may say against a change and for it. Of 6,300 peaks of motion on held-out recordings and scenes,
these are where the logarithm of targets to others by the network's logit ends, and ``_SAYS`` is its slope between."""
REACH_PX = 5.0
"""What moves within this distance of the box of what the network found is the same thing."""


def moving(
    exceeding: Table,
    picture: Picture,
    *,
    sure: float,
    low: float,
    max_area: int,
    limit: int,
    counts: DetectionFilter | None = None,
) -> Table:
    """What moves, as detections.

    A peak ``STRONG`` above its threshold scores ``sure``, one ``WEAK`` below it ``low`` at most, on a
    straight line of log odds: the tracker treats both kinds of detections by one rule.

    Args:
        exceeding: of the frame, ``EXCEEDING_DTYPE``.
        picture: (H, W), native counts.
        sure: score from which on a detection may start a track.
        low: score of the weakest detections of use, at most ``sure``.
        max_area: in pixels; larger ones are dropped.
        limit: the best by score are kept.
        counts: see ``components.find``.

    Returns:
        ``DETECTION_DTYPE``, best first, ``motion`` set.
    """
    probability, significance = np.zeros((2, *picture.shape), np.float32)
    slope = max((_logit(sure) - _logit(low)) / (STRONG + WEAK), _LEAST_SLOPE)
    # Cut where a float32 cannot tell the probability from 1 any more.
    odds = np.minimum(_logit(sure) + slope * (exceeding["over"] - STRONG), 15)
    probability.flat[exceeding["at"]] = 1 / (1 + np.exp(-odds))
    significance.flat[exceeding["at"]] = exceeding["significance"]
    found = find(
        probability,
        picture,
        threshold=low,
        low_threshold=low,
        min_area=1,
        max_area=max_area,
        max_detections=limit,
        counts=counts,
    )
    found["motion"] = _highest(significance, found)
    return found


def join(network: Table, motion: Table, *, sure: float, limit: int) -> Table:
    """One table, best first.

    A thing that both have found is the network's. Where the network is not sure of it, and its motion is the better
    evidence, it gets the score of that, and its ``motion``.
    """
    if not len(motion):
        return network
    network = network.copy()
    same = _beside(network, motion)
    score, significance = (np.where(same, motion[name], 0.0).max(axis=1, initial=0.0) for name in ("score", "motion"))
    raised = (network["score"] < sure) & (score > network["score"])
    network["score"][raised], network["motion"][raised] = score[raised], significance[raised]
    joined = np.concatenate([network, motion[~same.any(axis=0)]])
    order = np.lexsort((joined["x"], joined["y"], -joined["score"]))
    return joined[order[:limit]]


def judge(found: Table, sharpness: Sharpness, probability: NDArray[np.float32] | None) -> Table:
    """The same detections with what their ``appearance`` says.

    It is how sharp they are, how much they stand out, which the network has asked for itself, and what a network that
    has seen what has changed says of them.

    Args:
        found: of the network and of motion.
        sharpness: of the frame's changes.
        probability: (H, W), of a network that has seen them; none of one that has not.
    """
    found = found.copy()
    stands_out = np.where(found["motion"] > 0, sharpness.weight * prominence(found["snr"]), 0.0)
    found["appearance"] = sharpness.says(_highest(sharpness.picture, found)) + stands_out
    if probability is not None:
        found["appearance"] += believed(_highest(probability, found))
    return found


def believed(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much likelier a target is than a chance peak of motion to get these probabilities (n,) of a network, nats."""
    told = np.clip(probability, 1e-12, 1 - 1e-7)
    logits = np.log(told / (1 - told))
    return np.asarray(np.clip(_SAYS * (logits - _NEUTRAL), *SAID))


def _beside(network: Table, motion: Table) -> NDArray[np.bool_]:
    """(n, m): whether the m-th moving thing is within reach of the n-th box."""
    inside = np.ones((len(network), len(motion)), bool)
    for place, corner, side in (("x", "bx", "bw"), ("y", "by", "bh")):
        low, high = network[corner] - REACH_PX, network[corner] + network[side] - 1 + REACH_PX
        inside &= (motion[place] >= low[:, None]) & (motion[place] <= high[:, None])
    return inside


def _highest(picture: NDArray[np.float32], found: Table) -> NDArray[np.float64]:
    corners, sides = found[["bx", "by"]].tolist(), found[["bw", "bh"]].tolist()
    boxes = [
        (slice(int(y), int(y + high)), slice(int(x), int(x + wide)))
        for (x, y), (wide, high) in zip(corners, sides, strict=True)
    ]
    return np.array([float(picture[box].max()) for box in boxes])


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
