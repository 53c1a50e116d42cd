"""Multi-target tracker on centroids: one step per frame, every track in a world that does not shake."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from pipeline.carry import carry, carry_back
from pipeline.messages import (
    CONFIRMED,
    DETECTION_DTYPE,
    IDENTITY,
    MAX_SIDE,
    TENTATIVE,
    TRACK_DTYPE,
    Affine,
    EgoMotion,
    Table,
)
from pipeline.track import belief, lifecycle
from pipeline.track.association import Indices, assign, pairs
from pipeline.track.belief import Belief
from pipeline.track.chance import NOBODY, ChanceDensity
from pipeline.track.clutter import ClutterMap, Flags
from pipeline.track.config import TrackConfig
from pipeline.track.evidence import MISS, hit, recent
from pipeline.track.kalman import Array
from pipeline.track.leap import SHARE, heirs, leaps
from pipeline.track.looks import unlike
from pipeline.track.meeting import BEHIND_S, MERGED_SIGMA, meet
from pipeline.track.memory import LostTargets
from pipeline.track.rate import StartScore

PLACES = ("scene", "sensor")
MIN_DT = 1e-3
"""What passes, s, where the clock says that nothing does."""
_INTERVALS = 5
_LOOKS = ["score", "area", "bx", "by", "bw", "bh", "snr"]


class Tracker:
    """Kalman tracks of one source, confirmed M of N, associated by likelihood in two rounds.

    High-score detections are offered to all tracks and may start new ones. Low-score detections may only keep
    confirmed tracks that were seen in the frame before (ByteTrack, Zhang et al. 2022): offered to coasting
    tracks, clutter keeps the lost ones alive, and offered to tentative ones, those that clutter has started. Where
    what changes is noise, which is reckoned with, tentative tracks of M hits may have them too: dim targets have gaps.
    The result does not depend on the order of the detections.

    Args:
        config: of the tracker.
        threshold: of the detector.
        shape: (height, width) of the pictures, px.
        next_id: of the first track born.

    Attributes:
        next_id: of the next track born.
    """

    def __init__(
        self,
        config: TrackConfig,
        threshold: float = 0.5,
        shape: tuple[int, int] = (MAX_SIDE, MAX_SIDE),
        next_id: int = 1,
    ) -> None:
        self.config = config
        self._high = threshold if config.high_score is None else config.high_score
        self._low = 0.0 if config.low_score is None else config.low_score
        self.next_id = next_id
        self.reset(shape)

    def reset(self, shape: tuple[int, int]) -> None:
        """Drop all tracks: the picture now, of this height and width, is no continuation of the last. Ids go on."""
        self._size = np.array(shape[::-1], float)
        self._reach_px = SHARE * float(self._size.max())
        self._clutter = ClutterMap(self.config.clutter, shape)
        self._chance = ChanceDensity(shape)
        self._lost = LostTargets(self.config.remember_s)
        self._start_score = StartScore(self._high, self.config.starts_per_min)
        self._believe(belief.NOBODY)
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._births: Array = np.empty((0, 2))
        self._tracks: Table = np.empty(0, TRACK_DTYPE)
        self._life: Table = np.empty(0, lifecycle.LIFE_DTYPE)

    def places(self) -> dict[str, int]:
        """How many places in the picture are known for what stands there, by where that is fixed."""
        return dict(zip(PLACES, self._clutter.known(), strict=True))

    def step(self, detections: Table, dt: float, ego: EgoMotion, noisy: float = 0.0) -> Table:
        """Take in one frame.

        Args:
            detections: (m,) rows of ``DETECTION_DTYPE``, any order.
            dt: seconds of media time since the previous frame. A clock that stands still or runs backwards
                counts as ``MIN_DT``.
            ego: camera motion since the previous frame; its matrix is used only where ``ok``.
            noisy: how much of what changes in the frame is noise, 0 to 1.

        Returns:
            (n,) rows of ``TRACK_DTYPE`` ordered by id: all live tracks, velocities as seen in the image.

        Raises:
            ValueError: detections of another type or not finite, or dt not finite.
        """
        if detections.dtype != DETECTION_DTYPE or detections.ndim != 1:
            raise ValueError(f"detections: expected rows of DETECTION_DTYPE, got {detections.dtype} {detections.shape}")
        if not math.isfinite(dt):
            raise ValueError(f"dt: {dt} is not finite")
        detections = _canonical(detections)
        positions = np.stack([detections["x"], detections["y"]], axis=1)
        if not np.isfinite(positions).all():
            raise ValueError("detections: a centroid is not finite")

        passed, dt = dt, dt if dt > 0 else MIN_DT
        matrix = ego.matrix if ego.ok else IDENTITY
        self._predict(dt, matrix, self.config.ego_sigma if ego.ok else self.config.ego_sigma_lost)
        self._clutter.move(dt, matrix, ego.ok)
        by_chance = noisy >= lifecycle.NOISY
        new, known = self._clutter.compare(positions)
        rows, columns = self._leap(*self._associate(positions, detections, by_chance), positions, detections)
        shown, waiting = self._tracks["state"] != TENTATIVE, self._life["behind_s"] > 0
        merged, behind = meet(self._belief, shown, waiting, rows, positions[columns])
        self._weigh(rows, columns, positions, detections, behind, dt)
        self._update(rows, detections[columns], positions[columns], merged)
        self._wait(behind, dt)
        self._age(rows, detections[columns], new[columns], known[columns], by_chance)
        held = columns[lifecycle.is_steady(self._tracks["state"], self._life)[rows]]
        self._clutter.forget(positions[held])  # where a target hovers it may be found again
        # Peaks of motion come anywhere by chance: only those that a track has taken tell of a place.
        chance = np.setdiff1d(np.flatnonzero(detections["motion"] > 0), columns)
        self._clutter.add(np.delete(positions, np.concatenate([held, chance]), axis=0))
        self._inherit(dt)
        self._give_up(by_chance)
        if (np.diff(self._tracks["id"]) < 0).any():  # a number from before has come back
            self._keep(np.argsort(self._tracks["id"]))
        free = np.delete(np.arange(len(detections)), columns)
        found = detections["score"][free]
        still = detections["motion"][free] == 0  # what motion finds is held to a rate before it comes here
        enough = self._start_score.see(found[still], dt)
        self._start(free[found >= np.where(still, enough, self._high)], detections, positions, new, known)
        return self._in_image(passed, matrix)

    def _predict(self, dt: float, matrix: Affine, ego_sigma: float) -> None:
        # Before association: no track may reach across a gap longer than it is allowed to coast.
        self._intervals.append(dt)
        usual_s = sorted(self._intervals)[len(self._intervals) // 2]
        self._end(self._life["unseen_s"] + dt > lifecycle.coast_s(self._life, dt, usual_s, self.config))
        self._life["unseen_s"] += dt
        self._life["lived_s"] += dt
        self._lost.move(dt, matrix, ego_sigma)
        self._births = carry(self._births, matrix)
        self._chance.move(matrix)
        sigmas = (self.config.cruise_sigma, self.config.accel_sigma)
        self._believe(belief.predict(belief.warp(self._belief, matrix), dt, sigmas, ego_sigma))

    def _associate(self, positions: Array, detections: Table, by_chance: bool) -> tuple[Indices, Indices]:
        """Rows of tracks and the detections they get."""
        config, score = self.config, detections["score"]
        near = pairs(self._belief, positions, config.measurement_sigma, config.max_gate_px, config.gate)
        looks = unlike(self._tracks[near.rows], detections[near.columns])
        near = near._replace(cost=near.cost + looks)
        high = score >= self._high
        rows, columns = assign(near.only(high[near.columns]), config.gate)
        low = (score >= self._low) & ~high
        waiting = self._tracks["state"] == CONFIRMED
        if by_chance:
            waiting |= (self._tracks["state"] == TENTATIVE) & (self._life["hits"] >= config.confirm_hits)
        waiting[rows] = False
        more_rows, more_columns = assign(near.only(low[near.columns] & waiting[near.rows]), config.gate)
        return np.concatenate([rows, more_rows]), np.concatenate([columns, more_columns])

    def _leap(self, rows: Indices, columns: Indices, positions: Array, detections: Table) -> tuple[Indices, Indices]:
        """With the confirmed tracks that have leapt; where they were flying to is forgotten."""
        missed, free = self._tracks["state"] == CONFIRMED, detections["score"] >= self._high
        missed[rows] = free[columns] = False
        places = self._mean[:, :2]
        ours, theirs = leaps(
            self._tracks, places, np.flatnonzero(missed), detections, np.flatnonzero(free), self._reach_px
        )
        if len(ours):
            anew = belief.initiate(positions[theirs], self.config.measurement_sigma, self.config.birth_speed_sigma)
            for state, first in zip(self._belief, anew, strict=True):
                state[ours] = first
            self._believe(self._belief)
        return np.concatenate([rows, ours]), np.concatenate([columns, theirs])

    def _weigh(self, rows: Indices, columns: Indices, positions: Array, found: Table, behind: Flags, dt: float) -> None:
        chance = found["score"] >= self._high
        chance[columns[self._tracks["state"][rows] != TENTATIVE]] = False
        ids, owners = self._tracks["id"][rows], np.full(len(found), NOBODY)
        owners[columns] = ids
        self._chance.see(positions, chance, owners)
        fit = belief.misfit(self._belief.only(rows), positions[columns], self.config.measurement_sigma)
        gain = np.where(behind, 0.0, MISS)  # that it is not seen behind another says nothing
        gain[rows] = hit(fit, self._chance.at(positions[columns], ids)) + found["appearance"][columns]
        self._life["evidence"] += gain
        self._life["recent"] = recent(self._life["recent"], gain, dt)

    def _update(self, rows: Indices, detections: Table, positions: Array, merged: Flags) -> None:
        tracks, before = self._tracks, self._mean[:, :2]
        sigma = np.where(merged, MERGED_SIGMA, self.config.measurement_sigma)
        corrected = belief.update(self._belief.only(rows), positions, sigma)
        for ours, theirs in zip(self._belief, corrected, strict=True):
            ours[rows] = theirs
        self._believe(self._belief)
        shift = before - np.stack([tracks["x"], tracks["y"]], axis=1)
        tracks["bx"] += shift[:, 0]
        tracks["by"] += shift[:, 1]
        for name in _LOOKS:
            tracks[name][rows] = detections[name]

    def _wait(self, behind: Flags, dt: float) -> None:
        """The time that a target is behind another is not held against it."""
        waits = behind & (self._life["behind_s"] < BEHIND_S)
        self._life["behind_s"][waits] += dt
        self._life["unseen_s"][waits] -= dt

    def _age(self, rows: Indices, detections: Table, new: Flags, known: Flags, by_chance: bool) -> None:
        life = self._life
        matched = np.zeros(len(life), bool)
        matched[rows] = True
        life["age"] += 1
        life["hits"] += matched
        life["new_hits"][rows] += new
        life["known_hits"][rows] += known
        life["clear_hits"][rows] += lifecycle.clearness(detections, self.config.clear_snr)
        life["moved"] = np.hypot(*(self._mean[:, :2] - self._births).T)
        life["unseen_s"][matched] = life["behind_s"][matched] = 0.0
        before = self._tracks["state"].copy()
        self._tracks["state"] = lifecycle.next_state(before, life, matched, self.config, by_chance)
        self._recognise((before == TENTATIVE) & (self._tracks["state"] != TENTATIVE))

    def _recognise(self, confirmed: Flags) -> None:
        """Give tracks confirmed in this frame the numbers of the lost targets that they continue."""
        rows = np.flatnonzero(confirmed)
        ids = self._tracks["id"][rows]
        known = self._lost.recall(ids, self._life["lived_s"][rows], *self._belief.only(rows).moments())
        self._chance.rename(ids, known)
        self._tracks["id"][rows] = known

    def _inherit(self, dt: float) -> None:
        """Targets that have leapt go on where they are now."""
        old, new = heirs(self._tracks, self._life, self._mean[:, :2], dt, self._reach_px)
        if not len(old):
            return
        self._chance.rename(self._tracks["id"][new], self._tracks["id"][old])
        self._tracks["id"][new], self._tracks["state"][new] = self._tracks["id"][old], CONFIRMED
        for name in ("hits", "age", "lived_s"):
            self._life[name][new] += self._life[name][old]
        self._keep(np.delete(np.arange(len(self._tracks)), old))

    def _give_up(self, by_chance: bool) -> None:
        self._end(lifecycle.doubtful(self._tracks["state"], self._life["recent"]))
        life = self._life
        hopes = lifecycle.hopeful(self._tracks["state"], life, self.config, by_chance)
        if not hopes.all():
            self._keep(hopes)
        inside = ((self._mean[:, :2] >= -0.5) & (self._mean[:, :2] <= self._size - 0.5)).all(axis=1)
        self._end((self._life["unseen_s"] > 0) & ~inside)

    def _end(self, over: Flags) -> None:
        """Give up tracks; those that were confirmed may come back under their number."""
        if not over.any():
            return
        known = over & (self._tracks["state"] != TENTATIVE)
        self._lost.add(self._tracks["id"][known], self._life["unseen_s"][known], *self._belief.only(known).moments())
        self._keep(~over)

    def _start(self, free: Indices, detections: Table, positions: Array, new: Flags, known: Flags) -> None:
        config = self.config
        best_first = np.argsort(-detections["score"][free], kind="stable")
        born = np.sort(free[best_first[: max(0, config.max_tracks - len(self._tracks))]])
        if not len(born):
            return
        first = belief.initiate(positions[born], config.measurement_sigma, config.birth_speed_sigma)
        tracks, life = np.zeros(len(born), TRACK_DTYPE), np.zeros(len(born), lifecycle.LIFE_DTYPE)
        tracks["id"] = np.arange(self.next_id, self.next_id + len(born))
        for name in _LOOKS:
            tracks[name] = detections[name][born]
        life["hits"], life["age"], life["recent"] = 1, 1, lifecycle.TRUST
        life["new_hits"], life["known_hits"] = new[born], known[born]
        life["clear_hits"] = lifecycle.clearness(detections[born], config.clear_snr)
        fresh = np.full(len(born), TENTATIVE)
        seen = np.ones(len(born), bool)
        tracks["state"] = lifecycle.next_state(fresh, life, seen, config)
        self._chance.give(born, tracks["id"])
        self.next_id += len(born)
        self._believe(self._belief.and_also(first))
        self._births = np.concatenate([self._births, positions[born]])
        self._tracks, self._life = np.concatenate([self._tracks, tracks]), np.concatenate([self._life, life])

    def _in_image(self, dt: float, matrix: Affine) -> Table:
        """A copy of the tracks with the state written in; velocities include the camera's share."""
        tracks = self._tracks
        tracks["x"], tracks["y"] = self._mean[:, 0], self._mean[:, 1]
        carried = self._mean[:, :2] - carry_back(self._mean[:, :2], matrix)
        velocity = self._mean[:, 2:] + (carried / dt if dt > 0 else 0.0)
        tracks["vx"], tracks["vy"] = velocity[:, 0], velocity[:, 1]
        return tracks.copy()

    def _believe(self, states: Belief) -> None:
        self._belief = states
        self._mean = states.centre()

    def _keep(self, alive: Flags | Indices) -> None:
        self._belief = self._belief.only(alive)
        self._mean = self._mean[alive]
        self._births = self._births[alive]
        self._tracks, self._life = self._tracks[alive], self._life[alive]


def _canonical(detections: Table) -> Table:
    """The same rows in an order of their own: by place, and whatever shares one by the rest."""
    order = np.lexsort([detections["x"], detections["y"]])
    placed = detections[["x", "y"]][order]
    if (placed[1:] == placed[:-1]).any():
        order = np.lexsort([detections[name] for name in reversed(DETECTION_DTYPE.names or ())])
    return detections[order]
