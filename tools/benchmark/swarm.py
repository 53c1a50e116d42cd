"""Simulated targets in any number with exact truth, and detections with misses, noise and false alarms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pipeline.messages import DETECTION_DTYPE, Table


class SwarmSpec(Struct, frozen=True, kw_only=True):
    """Parameters of the simulation.

    Attributes:
        targets: number of targets, all in view in every frame.
        frames: number of frames.
        rate: frames per second.
        width: width of the picture in px.
        height: height of the picture in px.
        speed: rms initial velocity along each axis, px/s.
        accel: rms change of velocity along each axis within one second, px/s.
        found: probability that a target is detected.
        error: rms error of a detected centroid along each axis, px.
        false: mean number of false alarms per frame.
        seed: seed of all random numbers.
    """

    targets: int
    frames: int = 250
    rate: float = 25.0
    width: int = 1280
    height: int = 1024
    speed: float = 40.0
    accel: float = 15.0
    found: float = 0.92
    error: float = 0.5
    false: float = 5.0
    seed: int = 0


class Swarm(NamedTuple):
    """Simulated truth and detections.

    Attributes:
        truth: (frames, targets, 2) positions in px.
        detections: one table per frame, with scores from 0.91 to 1.
    """

    truth: NDArray[np.float64]
    detections: list[Table]


def draw(spec: SwarmSpec) -> Swarm:
    """Simulate targets with white-noise acceleration that are reflected at the edges of the picture."""
    rng = np.random.default_rng([spec.seed, spec.targets])
    size, dt = np.array([spec.width, spec.height]) - 1.0, 1 / spec.rate
    place = rng.uniform(0, size, (spec.targets, 2))
    velocity = rng.normal(0, spec.speed, place.shape)
    truth = np.empty((spec.frames, *place.shape))
    for k in range(spec.frames):
        truth[k] = place
        velocity += rng.normal(0, spec.accel * dt**0.5, place.shape)
        place = place + velocity * dt
        outside = (place < 0) | (place > size)
        velocity[outside] *= -1
        place = np.where(place < 0, -place, np.where(place > size, 2 * size - place, place))
    return Swarm(truth, [_detect(points, size, spec, rng) for points in truth])


def _detect(points: NDArray[np.float64], size: NDArray[np.float64], spec: SwarmSpec, rng: np.random.Generator) -> Table:
    found = points[rng.random(len(points)) < spec.found]
    places = [found + rng.normal(0, spec.error, found.shape), rng.uniform(0, size, (rng.poisson(spec.false), 2))]
    x, y = np.concatenate(places).T
    table = np.zeros(len(x), DETECTION_DTYPE)
    table["x"], table["y"], table["score"] = x, y, rng.uniform(0.91, 1, len(x))
    table["area"], table["bw"], table["bh"], table["snr"] = 9, 3, 3, 20
    table["bx"], table["by"] = np.rint(x) - 1, np.rint(y) - 1
    return rng.permutation(table)
