"""Targets: exact sub-pixel rendering of small objects, and their trajectories."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.scene.camera import Camera
from pipeline.capture.scene.spec import SceneSpec
from pipeline.capture.scene.texture import Image

Vector = NDArray[np.float64]

PSF_SIGMA = 0.9
_FWHM = 2.3548 * math.sqrt(PSF_SIGMA**2 + 1 / 12)
_EPISODE_FRAMES = 300
_FADE = 12
_REACH = 5.0 * PSF_SIGMA + 1.0

# A body is a sum of boxes: centre x, y, width, height as fractions of the body's width; relative radiance.
_POINT = ((0.0, 0.0, 0.0, 0.0, 1.0),)
_BODIES = {
    "drone": (
        (0, 0, 0.34, 0.26, 1.0),
        (0, -0.06, 1.0, 0.08, 0.5),
        (-0.42, -0.1, 0.16, 0.14, 0.9),
        (0.42, -0.1, 0.16, 0.14, 0.9),
    ),
    "plane": (
        (0, 0, 1.0, 0.14, 0.8),
        (0.05, 0, 0.2, 0.5, 0.5),
        (0.3, 0, 0.2, 0.18, 0.5),
        (-0.44, -0.08, 0.12, 0.2, 0.5),
    ),
    "boat": (
        (0, 0.08, 1.0, 0.14, 0.55),
        (-0.12, -0.08, 0.4, 0.18, 0.7),
        (-0.05, -0.2, 0.1, 0.16, 1.0),
    ),
}
_KINDS = {"sea": ("boat", "plane"), "ground": ("drone",)}

# Vertical zone of the meeting points (fractions of the picture height), and relative steepness of the paths.
_ZONES = {
    "sky": (0.1, 0.9, 1.0),
    "sea": (0.3, 0.62, 0.08),
    "ground": (0.15, 0.8, 0.7),
    "crossing": (0.2, 0.8, 1.0),
    "demo": (0.15, 0.6, 0.5),
}
_BRIGHTEST = {"crossing": 2.0, "demo": 2.0}
_HIDDEN_EVERY = {"sky": 3, "demo": 3}


class TargetTruth(NamedTuple):
    """Ground truth of one target in a frame.

    Attributes:
        id: unique id in the scene.
        x: exact centroid in px; the centre of the top-left pixel is (0, 0).
        y: see ``x``.
        w: width at half maximum in px.
        h: height at half maximum in px.
        snr: peak contrast divided by the temporal noise sigma in this frame; reduced behind clouds and while fading.
        visible: at least half of the target's own contrast reaches the camera.
    """

    id: int
    x: float
    y: float
    w: float
    h: float
    snr: float
    visible: bool


def _cdf_integral(x: Vector) -> Vector:
    """Return the integral over (-inf, x) of the cumulative distribution of the PSF."""
    t = x / PSF_SIGMA
    cdf = 0.5 * (1 + np.array([math.erf(v) for v in (t / math.sqrt(2)).tolist()]))
    density = np.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)
    return x * cdf + PSF_SIGMA * density


def _line(offset: Vector, width: float) -> Vector:
    """Return the mass in unit pixels at ``offset`` of a uniform bar of unit mass, blurred by the PSF.

    The convolution of bar, pixel and Gaussian has a closed form: a second difference of ``_cdf_integral``.
    """
    # A bar of 1e-3 px equals a point to within 1e-7, and the difference keeps nine digits.
    half = max(width, 1e-3) / 2
    corners = np.concatenate([offset + 0.5 + half, offset + 0.5 - half, offset - 0.5 + half, offset - 0.5 - half])
    a, b, c, d = np.split(_cdf_integral(corners), 4)
    return (a - b - c + d) / (2 * half)


class Body:
    """The image of a target after optics and pixel sampling.

    Args:
        kind: key of the silhouettes, or ``point``.
        size: width in px.
        heading: 1 or -1, mirrors the silhouette.
    """

    def __init__(self, kind: str, size: float, heading: float = 1.0) -> None:
        parts = np.array(_POINT if kind == "point" else _BODIES[kind], np.float64)
        parts[:, :4] *= size
        parts[:, 0] *= heading
        # A box of radiance r and area a has mass r a; a point has mass 1.
        self._mass = parts[:, 4] * (parts[:, 2] * parts[:, 3] if size else 1.0)
        self._parts = parts
        parts[:, :2] -= self._mass @ parts[:, :2] / self._mass.sum()
        low = (parts[:, :2] - parts[:, 2:4] / 2).min(axis=0)
        high = (parts[:, :2] + parts[:, 2:4] / 2).max(axis=0)
        self.w, self.h = (math.hypot(side, _FWHM) for side in high - low)
        self._radius = float(max(-low.min(), high.max())) + _REACH
        self._peak = 1.0
        n = math.ceil(self._radius) * 2 + 1
        self._peak = float(self.picture(n // 2, n // 2, (n, n))[2].max())
        self.opaque = size > 0

    def picture(self, x: float, y: float, shape: tuple[int, int]) -> tuple[slice, slice, Image]:
        """Render the body with its centroid at (x, y) in a picture of the given shape.

        Returns:
            Rows, columns and profile. The profile's peak is 1 if the centroid lies on a pixel centre. The slices are
            empty if the body lies outside the picture.
        """
        rows = np.arange(max(0, math.ceil(y - self._radius)), min(shape[0], math.floor(y + self._radius) + 1))
        cols = np.arange(max(0, math.ceil(x - self._radius)), min(shape[1], math.floor(x + self._radius) + 1))
        if not len(rows) or not len(cols):
            return slice(0), slice(0), np.zeros((0, 0), np.float32)
        profile = np.zeros((len(rows), len(cols)))
        for (dx, dy, w, h, _), mass in zip(self._parts, self._mass, strict=True):
            profile += mass * np.outer(_line(rows - y - dy, h), _line(cols - x - dx, w))
        profile /= self._peak
        return slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1), profile.astype(np.float32)


class TargetSet:
    """All targets of a scene: their bodies, brightness and trajectories in world coordinates."""

    def __init__(self, spec: SceneSpec, camera: Camera) -> None:
        rng = np.random.Generator(np.random.PCG64([spec.seed, 4]))
        episodes = max(1, round(spec.frames / _EPISODE_FRAMES))
        n = spec.targets * episodes
        kinds = _KINDS.get(spec.name, ("drone", "plane"))
        self._anchor, self._velocity = np.zeros((n, 2)), np.zeros((n, 2))
        self._meet = np.zeros(n)
        self._sway = rng.uniform(0, 3, n)
        self._sway_period = rng.uniform(160, 400, n)
        self._life = np.tile([-math.inf, math.inf], (n, 1))
        self.snr = spec.snr * rng.uniform(1, _BRIGHTEST.get(spec.name, 1.0), n)
        if n:
            self.snr[rng.integers(0, n)] = spec.snr
        length = spec.frames / episodes
        for i in range(n):
            partner = i - 1 if i % spec.targets % 2 else None
            self._plan(i, partner, length, spec, camera, rng)
            if spec.name == "demo":
                self._life[i] = (
                    self._meet[i] - rng.uniform(0.25, 0.8) * length,
                    self._meet[i] + rng.uniform(0.25, 0.8) * length,
                )
        every = _HIDDEN_EVERY.get(spec.name, n + 1)
        self.hidden = [i % every == every - 1 for i in range(n)]
        sizes = [
            max(spec.size, 9.0 + 5.0 * rng.random()) if spec.name == "demo" and i % 2 else spec.size for i in range(n)
        ]
        self.bodies = [
            Body(kinds[i % len(kinds)] if size else "point", size, -1.0 if self._velocity[i, 0] < 0 else 1.0)
            for i, size in enumerate(sizes)
        ]

    def _plan(
        self, i: int, partner: int | None, length: float, spec: SceneSpec, camera: Camera, rng: np.random.Generator
    ) -> None:
        """Choose the path of target i: through the meeting point of its partner, or through one of its own."""
        low, high, steep = _ZONES[spec.name]
        episode, place = divmod(i, spec.targets)
        window = np.linspace(episode * length, (episode + 1) * length - 1, 25).astype(int)
        views = np.linalg.inv(np.stack([camera.to_world(int(k)) for k in window]))
        best = -1.0
        for _ in range(24):
            if partner is None:
                meet = (episode + (place + 1) / (spec.targets + 1) * rng.uniform(0.8, 1.2)) * length
                point = np.array([rng.uniform(0.2, 0.8) * spec.width, rng.uniform(low, high) * spec.height, 1.0])
                anchor = (camera.to_world(int(meet)) @ point)[:2]
            else:
                meet = self._meet[partner]
                anchor = self._anchor[partner] + rng.uniform(-2, 2, 2)
            # Speed scales with the picture width: 0.3 to 1.3 px/frame at 320 px, limited to 0.2 to 3 px/frame.
            speed = min(3.0, rng.uniform(0.3, 1.3) * spec.width / 320)
            heading = rng.uniform(0, 2 * math.pi)
            velocity = max(0.2, speed) * np.array([math.cos(heading), steep * math.sin(heading)])
            world = np.c_[anchor + np.outer(window - meet, velocity), np.ones(len(window))]
            x, y, _ = np.einsum("kij,kj->ik", views, world)
            share = float(np.mean((x > 0) & (x < spec.width - 1) & (y > 0) & (y < spec.height - 1)))
            apart = 1.0 if partner is None else float(np.linalg.norm(velocity - self._velocity[partner]) > 0.4)
            if min(share, 0.7) * apart > best:
                best = min(share, 0.7) * apart
                self._anchor[i], self._velocity[i], self._meet[i] = anchor, velocity, meet
            if best >= 0.7:
                break

    def positions(self, k: int) -> Vector:
        """Return world coordinates (n, 2) of all targets at frame k: constant velocity plus a slow, slight sway."""
        t = (k - self._meet)[:, None]
        across = self._velocity[:, ::-1] * (1, -1) / np.maximum(np.linalg.norm(self._velocity, axis=1), 1e-9)[:, None]
        sway = self._sway * np.sin(2 * math.pi * (k - self._meet) / self._sway_period)
        return cast(Vector, self._anchor + self._velocity * t + across * sway[:, None])

    def presence(self, k: int) -> Vector:
        """Return the fraction (n,) of each target's contrast present at frame k.

        It is 0 before and after the target's life, with linear ramps at both ends.
        """
        return cast(Vector, np.clip(np.minimum(k - self._life[:, 0], self._life[:, 1] - k) / _FADE, 0, 1))
