"""Multi-target tracker on centroids, advanced one frame at a time, with compensation of ego-motion."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from pipeline.carry import carry
from pipeline.messages import (
    CONFIRMED,
    IDENTITY,
    MAX_SIDE,
    TENTATIVE,
    TRACK_DTYPE,
    Affine,
    EgoMotion,
    Table,
)
from pipeline.track import imm, lifecycle
from pipeline.track.appearance_cost import appearance_cost
from pipeline.track.association import Indices, assign, gate_at, missed_cost, pairs
from pipeline.track.canonical import canonical
from pipeline.track.clutter import ClutterMap, Flags
from pipeline.track.config import TrackConfig
from pipeline.track.detection_rate import DetectionRate
from pipeline.track.duplicates import find_successors
from pipeline.track.evidence import USUAL_DETECTION, hit_evidence, miss_evidence, update_recent
from pipeline.track.false_alarms import NO_TRACK, FalseAlarmDensity
from pipeline.track.jump import MAX_JUMP_SHARE, find_jumps, jump_successors
from pipeline.track.kalman import Array
from pipeline.track.lost_targets import LostTargets
from pipeline.track.occlusion import MAX_OCCLUDED_S, MERGED_SIGMA, find_occlusions
from pipeline.track.start_threshold import StartThreshold
from pipeline.track.table import TrackTable

PLACES = ("scene", "sensor")  # where stationary clutter is fixed
MIN_DT = 1e-3
"""Interval in seconds assumed when the clock did not advance."""
_INTERVALS = 5  # frame intervals in the running median
_COPIED = ["score", "area", "bx", "by", "bw", "bh", "snr"]


class Tracker:
    """Tracker of one source: IMM filters, two-stage association by likelihood, confirmation by M of N hits.

    High-score detections are associated with all tracks and may start new ones. Low-score detections may only continue
    confirmed tracks that were seen in the previous frame (ByteTrack, Zhang et al. 2022). With coasting tracks they
    would keep lost tracks alive on clutter, and with tentative ones those that clutter has started. Where most changes
    are noise, which the false-alarm model covers, tentative tracks with M hits may use them as well, because dim
    targets leave gaps. The result does not depend on the order of the detections.

    Args:
        config: settings of the tracker.
        threshold: threshold of the detector, used where ``config.high_score`` is None.
        shape: (height, width) of the pictures in px.
        next_id: id of the first track.

    Attributes:
        next_id: id of the next new track.
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
        """Drop all tracks and start again with pictures of this (height, width); ids continue."""
        self._size = np.array(shape[::-1], float)
        self._reach_px = MAX_JUMP_SHARE * float(self._size.max())
        self._clutter = ClutterMap(self.config.clutter, shape)
        self._false_alarms = FalseAlarmDensity(shape)
        self._lost = LostTargets(self.config.remember_s)
        self._start_threshold = StartThreshold(self._high, self.config.starts_per_min)
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._detection_rate = DetectionRate()
        self._tracks = TrackTable()

    def places(self) -> dict[str, int]:
        """Count the known places of stationary clutter in the picture, by ``PLACES``."""
        return dict(zip(PLACES, self._clutter.known(), strict=True))

    def step(self, detections: Table, dt: float, ego: EgoMotion, noisy: float = 0.0) -> Table:
        """Process one frame.

        Args:
            detections: (m,) rows of ``DETECTION_DTYPE`` in any order.
            dt: media time since the previous frame in s. If it is zero or negative, ``MIN_DT`` is used.
            ego: ego-motion since the previous frame; its matrix is used only where ``ok``.
            noisy: share of noise in the changes of this frame, 0 to 1.

        Returns:
            (n,) rows of ``TRACK_DTYPE`` ordered by id, for all live tracks. Velocities are relative to the image.

        Raises:
            ValueError: the detections have another dtype or a centroid that is not finite, or dt is not finite.
        """
        if not math.isfinite(dt):
            raise ValueError(f"dt: {dt} is not finite")
        detections = canonical(detections)
        positions = np.stack([detections["x"], detections["y"]], axis=1)
        passed, dt = dt, dt if dt > 0 else MIN_DT
        matrix = ego.matrix if ego.ok else IDENTITY
        self._predict(dt, matrix, self.config.ego_sigma if ego.ok else self.config.ego_sigma_lost)
        self._clutter.move(dt, matrix, ego.ok)
        random_clutter = noisy >= lifecycle.MIN_NOISE_SHARE
        probability = self._detection_rate.probability if random_clutter else USUAL_DETECTION
        new, known = self._clutter.classify(positions)
        rows, columns = self._match_jumps(
            *self._associate(positions, detections, random_clutter, probability), positions, detections
        )
        tracks = self._tracks
        shown, was_occluded = tracks.reported["state"] != TENTATIVE, tracks.life["behind_s"] > 0
        merged, occluded = find_occlusions(tracks.state, shown, was_occluded, rows, positions[columns])
        self._update_evidence(rows, columns, positions, detections, occluded, probability, dt)
        gaps = (tracks.life["unseen_s"][rows[shown[rows]]] - dt) / self._usual_s()
        self._detection_rate.update(gaps, dt)
        self._update(rows, detections[columns], positions[columns], merged)
        self._pause_occluded(occluded, dt)
        self._age(rows, detections[columns], new[columns], known[columns], random_clutter)
        held = columns[lifecycle.is_steady(tracks.reported["state"], tracks.life)[rows]]
        self._clutter.forget(positions[held])  # so that a hovering target can be found again after a loss
        # Random motion peaks occur anywhere, so only those associated with a track are stored in the clutter map.
        unmatched_motion = np.setdiff1d(np.flatnonzero(detections["motion"] > 0), columns)
        self._clutter.add(np.delete(positions, np.concatenate([held, unmatched_motion]), axis=0))
        self._resume_jumped(dt)
        self._prune(random_clutter)
        if (np.diff(tracks.reported["id"]) < 0).any():  # a re-identified track has its old id
            tracks.keep(np.argsort(tracks.reported["id"]))
        free = np.delete(np.arange(len(detections)), columns)
        scores = detections["score"][free]
        still = detections["motion"][free] == 0  # the rate of motion detections is limited before the tracker
        start_score = self._start_threshold.update(scores[still], dt)
        self._start(free[scores >= np.where(still, start_score, self._high)], detections, positions, new, known)
        return tracks.output(passed, matrix)

    def _predict(self, dt: float, matrix: Affine, ego_sigma: float) -> None:
        # Ended before association, so that no track bridges a gap longer than it may coast.
        self._intervals.append(dt)
        usual_s = self._usual_s()
        tracks, life = self._tracks, self._tracks.life
        self._end(self._continue(life["unseen_s"] + dt > lifecycle.coast_limit_s(life, dt, usual_s, self.config)))
        tracks.life["unseen_s"] += dt
        tracks.life["lived_s"] += dt
        self._lost.move(dt, matrix, ego_sigma)
        tracks.births = carry(tracks.births, matrix)
        self._false_alarms.move(matrix)
        sigmas = (self.config.cruise_sigma, self.config.accel_sigma)
        tracks.set_state(imm.predict(imm.warp(tracks.state, matrix), dt, sigmas, ego_sigma))

    def _usual_s(self) -> float:
        """Return the median interval of the last frames in s."""
        return sorted(self._intervals)[len(self._intervals) // 2]

    def _associate(
        self, positions: Array, detections: Table, random_clutter: bool, probability: float
    ) -> tuple[Indices, Indices]:
        """Return the rows of tracks and the indices of their detections."""
        config, tracks, score = self.config, self._tracks, detections["score"]
        near = pairs(tracks.state, positions, config.measurement_sigma, config.max_gate_px, config.gate)
        appearance = appearance_cost(tracks.reported[near.rows], detections[near.columns])
        missed = missed_cost(tracks.life["unseen_s"], self._intervals[-1], self._usual_s(), probability)
        gate = gate_at(config.gate, probability)
        near = near._replace(cost=near.cost + appearance + missed[near.rows])
        high = score >= self._high
        rows, columns = assign(near.select(high[near.columns]), gate)
        low = (score >= self._low) & ~high
        continuable = tracks.reported["state"] == CONFIRMED
        if random_clutter:
            continuable |= (tracks.reported["state"] == TENTATIVE) & (tracks.life["hits"] >= config.confirm_hits)
        continuable[rows] = False
        more_rows, more_columns = assign(near.select(low[near.columns] & continuable[near.rows]), gate)
        return np.concatenate([rows, more_rows]), np.concatenate([columns, more_columns])

    def _match_jumps(
        self, rows: Indices, columns: Indices, positions: Array, detections: Table
    ) -> tuple[Indices, Indices]:
        """Add the pairs of confirmed tracks that have jumped, and reinitialise the states of these tracks."""
        missed, free = self._tracks.reported["state"] == CONFIRMED, detections["score"] >= self._high
        missed[rows] = free[columns] = False
        places = self._tracks.mean[:, :2]
        jumped_rows, jumped_columns = find_jumps(
            self._tracks.reported, places, np.flatnonzero(missed), detections, np.flatnonzero(free), self._reach_px
        )
        if len(jumped_rows):
            reinitialised = imm.initiate(
                positions[jumped_columns], self.config.measurement_sigma, self.config.birth_speed_sigma
            )
            self._tracks.set_state_of(jumped_rows, reinitialised)
        return np.concatenate([rows, jumped_rows]), np.concatenate([columns, jumped_columns])

    def _update_evidence(
        self,
        rows: Indices,
        columns: Indices,
        positions: Array,
        found: Table,
        occluded: Flags,
        probability: float,
        dt: float,
    ) -> None:
        reported, life = self._tracks.reported, self._tracks.life
        is_false_alarm = found["score"] >= self._high
        is_false_alarm[columns[reported["state"][rows] != TENTATIVE]] = False
        ids, owners = reported["id"][rows], np.full(len(found), NO_TRACK)
        owners[columns] = ids
        self._false_alarms.update(positions, is_false_alarm, owners)
        fit = imm.twice_nll(self._tracks.state.select(rows), positions[columns], self.config.measurement_sigma)
        gain = np.where(occluded, 0.0, miss_evidence(probability))  # an occluded target is expected to be missed
        density = self._false_alarms.at(positions[columns], ids)
        gain[rows] = hit_evidence(fit, density, probability) + found["appearance"][columns]
        life["evidence"] += gain
        life["recent"] = update_recent(life["recent"], gain, dt)

    def _update(self, rows: Indices, detections: Table, positions: Array, merged: Flags) -> None:
        tracks, before = self._tracks.reported, self._tracks.mean[:, :2]
        sigma = np.where(merged, MERGED_SIGMA, self.config.measurement_sigma)
        self._tracks.set_state_of(rows, imm.update(self._tracks.state.select(rows), positions, sigma))
        shift = before - np.stack([tracks["x"], tracks["y"]], axis=1)
        tracks["bx"] += shift[:, 0]
        tracks["by"] += shift[:, 1]
        for name in _COPIED:
            tracks[name][rows] = detections[name]

    def _pause_occluded(self, occluded: Flags, dt: float) -> None:
        """Exclude the time that a track is occluded from its coasting time, up to ``MAX_OCCLUDED_S``."""
        life = self._tracks.life
        waits = occluded & (life["behind_s"] < MAX_OCCLUDED_S)
        life["behind_s"][waits] += dt
        life["unseen_s"][waits] -= dt

    def _age(self, rows: Indices, detections: Table, new: Flags, known: Flags, random_clutter: bool) -> None:
        reported, life = self._tracks.reported, self._tracks.life
        matched = np.zeros(len(life), bool)
        matched[rows] = True
        life["age"] += 1
        life["hits"] += matched
        life["new_hits"][rows] += new
        life["known_hits"][rows] += known
        life["clear_hits"][rows] += lifecycle.hit_weight(detections, self.config.clear_snr)
        life["moved"] = np.hypot(*(self._tracks.mean[:, :2] - self._tracks.births).T)
        life["unseen_s"][matched] = life["behind_s"][matched] = 0.0
        before = reported["state"].copy()
        reported["state"] = lifecycle.next_state(before, life, matched, self.config, random_clutter)
        self._reidentify((before == TENTATIVE) & (reported["state"] != TENTATIVE))

    def _reidentify(self, confirmed: Flags) -> None:
        """Give tracks confirmed in this frame the ids of the lost targets that they continue."""
        rows = np.flatnonzero(confirmed)
        tracks, ids = self._tracks, self._tracks.reported["id"][rows]
        known = self._lost.reidentify(ids, tracks.life["lived_s"][rows], *tracks.state.select(rows).moments())
        self._false_alarms.rename(ids, known)
        tracks.reported["id"][rows] = known

    def _resume_jumped(self, dt: float) -> None:
        """Continue lost tracks, with id and history, in the tentative tracks that took over after a jump."""
        reported, life = self._tracks.reported, self._tracks.life
        old, new = jump_successors(reported, life, self._tracks.mean[:, :2], dt, self._reach_px)
        if not len(old):
            return
        reported["state"][new] = CONFIRMED
        for name in ("hits", "age", "lived_s"):
            life[name][new] += life[name][old]
        self._take_over(old, new)

    def _take_over(self, old: Indices, new: Indices) -> None:
        """Give some tracks the ids of others, which are dropped."""
        ids = self._tracks.reported["id"]
        self._false_alarms.rename(ids[new], ids[old])
        ids[new] = ids[old]
        self._tracks.keep(np.delete(np.arange(len(ids)), old))

    def _prune(self, random_clutter: bool) -> None:
        tracks = self._tracks
        self._end(lifecycle.fed_by_clutter(tracks.reported["state"], tracks.life["recent"]))
        viable = lifecycle.is_viable(tracks.reported["state"], tracks.life, self.config, random_clutter)
        if not viable.all():
            tracks.keep(viable)
        position = tracks.mean[:, :2]
        inside = ((position >= -0.5) & (position <= self._size - 0.5)).all(axis=1)
        self._end((tracks.life["unseen_s"] > 0) & ~inside)

    def _continue(self, over: Flags) -> Flags:
        """Continue ending tracks, with their ids, in younger ones of the same targets; return which others end."""
        tracks = self._tracks
        old, new = find_successors(tracks.reported, tracks.life["unseen_s"], tracks.mean, over)
        if not len(old):
            return over
        self._take_over(old, new)
        return np.delete(over, old)

    def _end(self, over: Flags) -> None:
        """Drop tracks; those that were confirmed may be re-identified later."""
        if not over.any():
            return
        tracks = self._tracks
        known = over & (tracks.reported["state"] != TENTATIVE)
        ids, unseen_s = tracks.reported["id"][known], tracks.life["unseen_s"][known]
        self._lost.add(ids, unseen_s, *tracks.state.select(known).moments())
        tracks.keep(~over)

    def _start(self, free: Indices, detections: Table, positions: Array, new: Flags, known: Flags) -> None:
        config = self.config
        best_first = np.argsort(-detections["score"][free], kind="stable")
        born = np.sort(free[best_first[: max(0, config.max_tracks - len(self._tracks))]])
        if not len(born):
            return
        first = imm.initiate(positions[born], config.measurement_sigma, config.birth_speed_sigma)
        tracks, life = np.zeros(len(born), TRACK_DTYPE), np.zeros(len(born), lifecycle.LIFE_DTYPE)
        tracks["id"] = np.arange(self.next_id, self.next_id + len(born))
        for name in _COPIED:
            tracks[name] = detections[name][born]
        life["hits"], life["age"], life["recent"] = 1, 1, lifecycle.INITIAL_EVIDENCE
        life["new_hits"], life["known_hits"] = new[born], known[born]
        life["clear_hits"] = lifecycle.hit_weight(detections[born], config.clear_snr)
        fresh = np.full(len(born), TENTATIVE)
        seen = np.ones(len(born), bool)
        tracks["state"] = lifecycle.next_state(fresh, life, seen, config)
        self._false_alarms.assign_owners(born, tracks["id"])
        self.next_id += len(born)
        self._tracks.append(first, positions[born], tracks, life)
