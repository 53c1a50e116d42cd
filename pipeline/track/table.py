"""The live tracks of one source, as parallel arrays."""

from __future__ import annotations

import numpy as np

from pipeline.carry import carry_back
from pipeline.messages import TRACK_DTYPE, Affine, Table
from pipeline.track import imm
from pipeline.track.association import Flags, Indices
from pipeline.track.imm import IMMState
from pipeline.track.kalman import Array
from pipeline.track.lifecycle import LIFE_DTYPE


class TrackTable:
    """Row i of every array belongs to track i.

    Attributes:
        state: IMM states of n tracks.
        mean: (n, 4) means of ``state`` over both models.
        births: (n, 2) positions of the first detections in scene coordinates, px.
        reported: (n,) rows of ``TRACK_DTYPE``. Positions and velocities are those of the last ``output``.
        life: (n,) rows of ``LIFE_DTYPE``.
    """

    def __init__(self) -> None:
        self.set_state(imm.NO_TRACK)
        self.births: Array = np.empty((0, 2))
        self.reported: Table = np.empty(0, TRACK_DTYPE)
        self.life: Table = np.empty(0, LIFE_DTYPE)

    def __len__(self) -> int:
        return len(self.reported)

    def set_state(self, state: IMMState) -> None:
        """Replace the states of all tracks."""
        self.state = state
        self.mean = state.centre()

    def set_state_of(self, rows: Indices, state: IMMState) -> None:
        """Replace the states of some tracks."""
        for values, new_values in zip(self.state, state, strict=True):
            values[rows] = new_values
        self.set_state(self.state)

    def keep(self, kept: Flags | Indices) -> None:
        """Keep these tracks, in this order, and drop the others."""
        self.state, self.mean = self.state.select(kept), self.mean[kept]
        self.births, self.reported, self.life = self.births[kept], self.reported[kept], self.life[kept]

    def append(self, state: IMMState, births: Array, reported: Table, life: Table) -> None:
        """Add tracks behind the others."""
        self.set_state(self.state.concat(state))
        self.births = np.concatenate([self.births, births])
        self.reported, self.life = np.concatenate([self.reported, reported]), np.concatenate([self.life, life])

    def output(self, dt: float, matrix: Affine) -> Table:
        """Write the states into ``reported`` and return a copy.

        Args:
            dt: time since the previous frame in s.
            matrix: ego-motion since the previous frame, which is part of the velocities in the image.
        """
        position, velocity = self.mean[:, :2], self.mean[:, 2:]
        carried = position - carry_back(position, matrix)
        velocity = velocity + (carried / dt if dt > 0 else 0.0)
        self.reported["x"], self.reported["y"] = position.T
        self.reported["vx"], self.reported["vy"] = velocity.T
        return self.reported.copy()
