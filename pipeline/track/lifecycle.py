"""Track life cycle: rules to confirm, coast and drop tracks, as pure functions on a table of track histories."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import COASTING, CONFIRMED, TENTATIVE, Table
from pipeline.track.config import TrackConfig

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
STEADY_HITS = 25  # fewest hits of a steady track, see is_steady
STEADY_SHARE = 0.8  # smallest fraction of frames with a hit of a steady track
MOTION_SHARE = 0.75  # smallest fraction of frames with a hit for a motion track to be confirmed
INITIAL_EVIDENCE, MIN_RECENT_EVIDENCE = 20.0, 10.0
"""Recent evidence of a new track, and the value below which a confirmed track is dropped, nats. A hit adds about 8."""
STRONG_EVIDENCE = 80.0
"""Recent evidence in nats that outweighs earlier gaps: a track that began with false alarms has picked up a target."""
VIABLE_EVIDENCE, SUFFICIENT_EVIDENCE = 3.0, 40.0
"""Evidence in nats that keeps a tentative track alive, and that replaces ``MOTION_SHARE``. Both apply only where most
changes are noise, since only there do false alarms occur at random, as the model assumes. Leaves and waves return to
their places."""
MIN_NOISE_SHARE = 0.5
"""Share of noise in the changes of a frame from which its false alarms are taken as random."""
SMALL = 40.0
"""Area in px below which a target is no larger than the blur of the optics, so that it should look sharp."""
GAP_INTERVALS = 1.5
"""Multiple of the usual frame interval beyond which a frame is not merely late: the stream had a gap."""
_ROUNDING = 1e-9

LIFE_DTYPE = np.dtype(
    [
        ("age", "<i8"),  # frames since birth, including the first
        ("hits", "<i8"),  # frames with a detection
        ("new_hits", "<i8"),  # hits at a place where nothing was detected before
        ("known_hits", "<i8"),  # hits at a familiar place
        ("clear_hits", "<f8"),  # hits of the network, each weighted by ``hit_weight``
        ("moved", "<f8"),  # distance from the birth position in scene coordinates, px
        ("lived_s", "<f8"),  # time since the first detection
        ("unseen_s", "<f8"),  # time since the last detection, less the time occluded by another target
        ("behind_s", "<f8"),  # time occluded by another target since the last detection
        ("evidence", "<f8"),  # log-likelihood ratio of target against false alarms, nats
        ("recent", "<f8"),  # the same over about the last second, nats
    ]
)
"""History of a track beside its state; one row per track, in the order of the tracks."""


def next_state(state: Ints, life: Table, matched: Flags, config: TrackConfig, random_clutter: bool = False) -> Ints:
    """Return the state of each track after this frame.

    A tentative track is confirmed from its M-th hit on if it meets the clutter conditions of ``config`` and either its
    weighted network hits reach M or its motion does. For motion, the track needs enough evidence, must have moved, and
    must have been detected in most frames of its life or recently: changes by a video coder, waves or wind stay where
    they are, and false alarms leave gaps. Confirmed tracks coast in frames without a hit.

    Args:
        state: (n,) states before this frame.
        life: (n,) rows of ``LIFE_DTYPE``, including this frame.
        matched: (n,) True where a detection was associated in this frame.
        config: M is ``confirm_hits``. Tracks without enough hits at new places are confirmed only while there are at
            most ``few`` of them, or if they have enough evidence and have left the place where they began; neither
            holds after a hit at a familiar place. Tracks found by motion alone, such as waves or leaves, do not count
            against those found by the network.
        random_clutter: most changes are noise. There evidence replaces the share of frames with a detection, since a
            dim target leaves gaps as well.
    """
    known, tentative = np.where(matched, CONFIRMED, COASTING), state == TENTATIVE
    eligible = (life["new_hits"] >= config.clutter.new_hits) | (not config.clutter.enabled)
    rivals, clear = tentative & ~eligible, life["clear_hits"] > 0
    count = np.where(clear, np.count_nonzero(rivals & clear), np.count_nonzero(rivals))
    eligible |= (life["known_hits"] == 0) & (count <= config.clutter.few)
    departed = (life["known_hits"] == 0) & (life["moved"] >= config.clutter.reach_px)
    eligible |= departed & (life["evidence"] >= config.motion_evidence)
    often = (life["hits"] >= MOTION_SHARE * life["age"]) | (life["recent"] >= STRONG_EVIDENCE)
    often |= random_clutter & (life["evidence"] >= SUFFICIENT_EVIDENCE)
    moves = often & (life["moved"] >= config.moved_px)
    eligible &= (life["clear_hits"] >= config.confirm_hits - _ROUNDING) | (
        (life["evidence"] >= config.motion_evidence) & moves
    )
    return np.where(~tentative | ((life["hits"] >= config.confirm_hits) & eligible), known, TENTATIVE)


def hit_weight(detections: Table, clear_snr: float) -> NDArray[np.float64]:
    """Return the weight (n,) of each detection: 1 from ``clear_snr`` on, proportional below, 0 for motion detections.

    A network is as confident of a tree top as of a target. Detections of low contrast, and small ones that are softer
    than other changes in the frame, therefore count less. Their tracks need more hits, which flickering clutter does
    not get.

    Args:
        detections: (n,) rows of ``DETECTION_DTYPE``.
        clear_snr: signal-to-noise ratio of full weight; 0 gives all the same weight.
    """
    contrast = np.abs(detections["snr"])
    weight = np.minimum(1.0, contrast / clear_snr) if clear_snr else np.ones_like(contrast)
    soft = np.where(detections["area"] < SMALL, np.minimum(detections["appearance"], 0.0), 0.0)
    return np.where(detections["motion"] == 0, weight * np.exp(soft), 0.0)


def is_viable(state: Ints, life: Table, config: TrackConfig, random_clutter: bool = False) -> Flags:
    """Return a mask of tracks that are confirmed, have M hits, or can still get them within their first N frames.

    Args:
        state: (n,) states after this frame.
        life: (n,) rows of ``LIFE_DTYPE``.
        config: M of N is ``confirm_hits`` of ``confirm_window``.
        random_clutter: most changes are noise, so that evidence may keep a track alive beyond N frames.
    """
    hits = life["hits"]
    within_reach: Flags = hits + (config.confirm_window - life["age"]) >= config.confirm_hits
    within_reach |= random_clutter & (life["evidence"] >= VIABLE_EVIDENCE)
    known: Flags = (state != TENTATIVE) | (hits >= config.confirm_hits)
    return within_reach | known


def fed_by_clutter(state: Ints, recent: NDArray[np.float64]) -> Flags:
    """Return a mask of confirmed tracks that recently followed clutter such as waves or twigs instead of a target.

    Args:
        state: (n,) states after this frame.
        recent: (n,) evidence of about the last second in nats, see ``evidence.update_recent``.
    """
    clutter_fed: Flags = (state != TENTATIVE) & (recent < MIN_RECENT_EVIDENCE)
    return clutter_fed


def coast_limit_s(life: Table, dt: float, usual_s: float, config: TrackConfig) -> NDArray[np.float64]:
    """Return how long in s each track may coast: as long as it had been seen, at most ``max_coast_s``.

    So a flash of four frames is not continued for half a second. If the frame interval is longer than ``max_coast_s``,
    tracks are kept until the next frame.

    Args:
        life: (n,) rows of ``LIFE_DTYPE``.
        dt: time since the previous frame in s; every track may miss one frame.
        usual_s: usual frame interval of this source in s.
        config: provides ``max_coast_s``.
    """
    seen_s = life["lived_s"] - life["unseen_s"]
    longest_s = max(config.max_coast_s, GAP_INTERVALS * usual_s)
    limit_s: NDArray[np.float64] = np.minimum(longest_s, seen_s + dt) + _ROUNDING
    return limit_s


def is_steady(state: Ints, life: Table) -> Flags:
    """Return a mask of confirmed tracks with a long history and few misses, unlike flickering clutter.

    Args:
        state: (n,) states after this frame.
        life: (n,) rows of ``LIFE_DTYPE``.
    """
    steady: Flags = (state == CONFIRMED) & (life["hits"] >= STEADY_HITS) & (life["hits"] >= STEADY_SHARE * life["age"])
    return steady
