"""Camera motion of a scene: a bounded path, and the ego-motion between frames."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.scene.spec import SceneSpec
from pipeline.messages import IDENTITY, Affine

Matrix = NDArray[np.float64]

_VIBRATION_HZ = 7.3
_VIBRATION_TILT = math.radians(0.02)
_HANDHELD_TILT = math.radians(0.3)
_HANDHELD_SWAY = 8.0
_SWAY_HZ = np.array([0.23, 0.41, 0.83, 1.9])
_SWAY_SHARE = (1 / _SWAY_HZ) / (1 / _SWAY_HZ).sum()
_CLIP = 3.0
_WIDEST_SECTOR = 1024.0


class Camera:
    """Camera poses of a scene.

    World coordinates are the flat picture plane of frame 0 without shake: world (0, 0) is the centre of its top-left
    pixel. A pose shifts the picture by (x, y) px over the world and rotates it about its own centre.
    """

    def __init__(self, spec: SceneSpec) -> None:
        self._spec = spec
        sector = min(abs(spec.pan_px) * (spec.frames - 1), 2.0 * spec.width, _WIDEST_SECTOR)
        self._sweep = sector if "pan" in spec.motions else 0.0
        rng = np.random.Generator(np.random.PCG64([spec.seed, 1]))
        self._phase = rng.uniform(0, 2 * math.pi, (4, len(_SWAY_HZ)))

    @property
    def reach(self) -> tuple[float, float, float, float]:
        """Largest distance in px (>= 0) any frame looks beyond the picture of pose zero: left, right, top, bottom."""
        spec = self._spec
        shake = spec.jitter_px * (
            _CLIP * ("jitter" in spec.motions)
            + ("vibration" in spec.motions)
            + _HANDHELD_SWAY * ("handheld" in spec.motions)
        )
        tilt = _VIBRATION_TILT * ("vibration" in spec.motions) + _HANDHELD_TILT * ("handheld" in spec.motions)
        side, rise = shake + tilt * spec.height / 2, shake + tilt * spec.width / 2
        left, right = (side + self._sweep, side) if spec.pan_px < 0 else (side, side + self._sweep)
        return left, right, rise, rise

    def pose(self, k: int) -> tuple[float, float, float]:
        """Return shift x, y in px and clockwise angle in rad of frame k."""
        spec = self._spec
        seconds = k / spec.fps
        x = y = angle = 0.0
        if "pan" in spec.motions and self._sweep:
            travelled = abs(spec.pan_px) * k % (2 * self._sweep)
            x += math.copysign(min(travelled, 2 * self._sweep - travelled), spec.pan_px)
        if "jitter" in spec.motions:
            rng = np.random.Generator(np.random.PCG64([spec.seed, 2, k]))
            dx, dy = np.clip(rng.standard_normal(2), -_CLIP, _CLIP) * spec.jitter_px
            x, y = x + dx, y + dy
        if "vibration" in spec.motions:
            turn = 2 * math.pi * _VIBRATION_HZ * seconds
            x += 0.4 * spec.jitter_px * math.sin(turn + self._phase[3, 0])
            y += spec.jitter_px * math.sin(turn + self._phase[3, 1])
            angle += _VIBRATION_TILT * math.sin(turn + self._phase[3, 2])
        if "handheld" in spec.motions:
            sway = np.sin(2 * math.pi * _SWAY_HZ * seconds + self._phase[:3]) @ _SWAY_SHARE
            x += _HANDHELD_SWAY * spec.jitter_px * sway[0]
            y += _HANDHELD_SWAY * spec.jitter_px * sway[1]
            angle += _HANDHELD_TILT * sway[2]
        return float(x), float(y), float(angle)

    def to_world(self, k: int) -> Matrix:
        """Return the homogeneous 3x3 matrix from pixels of frame k to world coordinates."""
        x, y, angle = self.pose(k)
        cos, sin = math.cos(angle), math.sin(angle)
        cx, cy = (self._spec.width - 1) / 2, (self._spec.height - 1) / 2
        return np.array(
            [
                [cos, -sin, cx + x - cos * cx + sin * cy],
                [sin, cos, cy + y - sin * cx - cos * cy],
                [0.0, 0.0, 1.0],
            ]
        )

    def ego(self, k: int) -> Affine:
        """Return (a, b, tx, c, d, ty) from pixels of frame k - 1 to pixels of frame k; identity for k = 0."""
        if k == 0:
            return IDENTITY
        matrix = np.linalg.inv(self.to_world(k)) @ self.to_world(k - 1)
        return cast(Affine, tuple(matrix[:2].ravel().tolist()))
