"""When a track is confirmed, coasts and is given up: pure functions on the table of the tracks' lives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import COASTING, CONFIRMED, TENTATIVE, Table
from pipeline.track.config import TrackConfig

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
STEADY_HITS = 25
STEADY_SHARE = 0.8
MOTION_SHARE = 0.75
TRUST, DOUBT = 20.0, 10.0
"""Recent evidence that a track is born with, and below which it is given up, nats. A hit is worth some eight."""
SURE = 80.0
"""Recent evidence that outweighs what came before: a chain of chance that a target has walked into is that target."""
PATIENCE, ALONE = 3.0, 40.0
"""Evidence that keeps a track waiting for its M-th hit, and that confirms it whatever its gaps, nats; where false peaks
come by chance alone, since only there is chance what it is reckoned to be. Leaves and waves return to their places."""
NOISY = 0.5
"""So much of what changes must be noise."""
SMALL = 40.0
"""Area in px below which a target is no wider than optics draw it, and sharp."""
LATE = 1.5
"""Of the usual time between two frames, after which one is not merely late: the stream had a gap."""
_ROUNDING = 1e-9

LIFE_DTYPE = np.dtype(
    [
        ("age", "<i8"),  # frames since birth, the birth included
        ("hits", "<i8"),  # those with a detection
        ("new_hits", "<i8"),  # those with one at a place that was empty before
        ("known_hits", "<i8"),  # those with one at a place that was not
        ("clear_hits", "<f8"),  # those with one of the network, each by its ``clearness``
        ("moved", "<f8"),  # px from where it was born, in coordinates of the scene
        ("lived_s", "<f8"),  # since its first detection
        ("unseen_s", "<f8"),  # since its last, less the time behind another target
        ("behind_s", "<f8"),  # that it has been behind another since its last
        ("evidence", "<f8"),  # nats, that it is no chain of chance detections
        ("recent", "<f8"),  # nats, the same of the last second or so
    ]
)
"""What is remembered of a track beside its state; one row per track, in the order of the tracks."""


def next_state(state: Ints, life: Table, matched: Flags, config: TrackConfig, by_chance: bool = False) -> Ints:
    """State after this frame: confirmed once seen often enough, coasting in frames without a hit.

    Args:
        state: (n,) before this frame.
        life: (n,) rows of ``LIFE_DTYPE``, this frame included.
        matched: (n,) a detection came in this frame.
        config: M is ``confirm_hits``; of what stands in the scene, only ``few`` are confirmed, and the waves or leaves
            that motion finds at the start do not count against what the network has found. What has been found for
            its motion has to move as well, and to be seen in most frames, of its life or of late: what a coder, a wave
            or the wind changes stays where it is, and chance has gaps.
        by_chance: what changes is noise. A dim target has gaps as well, so there evidence is asked for instead.
    """
    known, tentative = np.where(matched, CONFIRMED, COASTING), state == TENTATIVE
    worthy = (life["new_hits"] >= config.clutter.new_hits) | (not config.clutter.enabled)
    rivals, clear = tentative & ~worthy, life["clear_hits"] > 0
    count = np.where(clear, np.count_nonzero(rivals & clear), np.count_nonzero(rivals))
    worthy |= (life["known_hits"] == 0) & (count <= config.clutter.few)
    often = (life["hits"] >= MOTION_SHARE * life["age"]) | (life["recent"] >= SURE)
    often |= by_chance & (life["evidence"] >= ALONE)
    moves = often & (life["moved"] >= config.moved_px)
    worthy &= (life["clear_hits"] >= config.confirm_hits - _ROUNDING) | (
        (life["evidence"] >= config.motion_evidence) & moves
    )
    return np.where(~tentative | ((life["hits"] >= config.confirm_hits) & worthy), known, TENTATIVE)


def clearness(detections: Table, clear_snr: float) -> NDArray[np.float64]:
    """How much each detection of the network tells: 1 from ``clear_snr`` on, in proportion below; 0 of motion alone.

    A network is as sure of a tree top as of a target. What stands out of its surroundings less than targets do, or is
    small and yet softer than what else changes, is asked for more hits, and clutter that flickers does not have them.

    Args:
        detections: (n,) rows of ``DETECTION_DTYPE``.
        clear_snr: 0 takes all for clear.
    """
    contrast = np.abs(detections["snr"])
    told = np.minimum(1.0, contrast / clear_snr) if clear_snr else np.ones_like(contrast)
    soft = np.where(detections["area"] < SMALL, np.minimum(detections["appearance"], 0.0), 0.0)
    return np.where(detections["motion"] == 0, told * np.exp(soft), 0.0)


def hopeful(state: Ints, life: Table, config: TrackConfig, by_chance: bool = False) -> Flags:
    """Tracks that are confirmed, have had M hits, or may still have them within the first N frames of their life.

    Args:
        state: (n,) after this frame.
        life: (n,) rows of ``LIFE_DTYPE``.
        config: M of N is ``confirm_hits`` of ``confirm_window``.
        by_chance: what changes is noise, so that evidence tells whether to wait for longer.
    """
    hits = life["hits"]
    within_reach: Flags = hits + (config.confirm_window - life["age"]) >= config.confirm_hits
    within_reach |= by_chance & (life["evidence"] >= PATIENCE)
    known: Flags = (state != TENTATIVE) | (hits >= config.confirm_hits)
    return within_reach | known


def doubtful(state: Ints, recent: NDArray[np.float64]) -> Flags:
    """Confirmed tracks that have long been fed by chance: the target is gone, and waves or twigs have taken its place.

    Args:
        state: (n,) after this frame.
        recent: (n,) evidence of the last second or so, see ``evidence.recent``, nats.
    """
    fed_by_chance: Flags = (state != TENTATIVE) & (recent < DOUBT)
    return fed_by_chance


def coast_s(life: Table, dt: float, usual_s: float, config: TrackConfig) -> NDArray[np.float64]:
    """How long each track may go unseen, s: as long as it had been seen before, at most ``max_coast_s``.

    What flashed up for four frames is not shown for half a second after, nor waited for. Where frames are further apart
    than ``max_coast_s``, a track is waited for until the next.

    Args:
        life: (n,) rows of ``LIFE_DTYPE``.
        dt: s between the frames; every track may miss one.
        usual_s: between the frames of this source.
        config: for ``max_coast_s``.
    """
    seen_s = life["lived_s"] - life["unseen_s"]
    longest_s = max(config.max_coast_s, LATE * usual_s)
    limit_s: NDArray[np.float64] = np.minimum(longest_s, seen_s + dt) + _ROUNDING
    return limit_s


def is_steady(state: Ints, life: Table) -> Flags:
    """Confirmed tracks that have been seen for long and nearly always, as things that flicker are not.

    Args:
        state: (n,) after this frame.
        life: (n,) rows of ``LIFE_DTYPE``.
    """
    steady: Flags = (state == CONFIRMED) & (life["hits"] >= STEADY_HITS) & (life["hits"] >= STEADY_SHARE * life["age"])
    return steady
