"""Scene background: sky, clouds, land and sea on a canvas larger than the picture."""

from __future__ import annotations

import math
from typing import cast

import cv2
import numpy as np

from pipeline.capture.scene.camera import Matrix
from pipeline.capture.scene.land import paint_land
from pipeline.capture.scene.sea import Sea
from pipeline.capture.scene.spec import NAMES, SceneSpec
from pipeline.capture.scene.texture import Image, blur, fractal, sample, smoothstep

_MARGIN = 8
_OPTICS_SIGMA = 0.75
# cv2's cubic kernel shifts a ramp by up to 0.05 px; on a canvas with twice the resolution the texture error is 2.5 %.
_OVERSAMPLING = 2
_LOCAL_MEAN_SIGMA = 3.0

# Row of the horizon as a fraction of the picture height, cloud cover 0..1, surface below the horizon.
_SETTING = {
    "sky": (1.25, 0.55, "land"),
    "sea": (0.42, 0.35, "sea"),
    "ground": (0.16, 0.3, "land"),
    "crossing": (0.56, 0.42, "land"),
    "demo": (0.74, 0.45, "land"),
}


class Background:
    """Background radiance, rendered once.

    Args:
        spec: the scene.
        reach: how far the camera looks beyond the picture on the left, right, top and bottom, in px.
    """

    def __init__(self, spec: SceneSpec, reach: tuple[float, float, float, float]) -> None:
        left, right, top, bottom = (math.ceil(side) + _MARGIN for side in reach)
        self._left, self._top = left, top
        shape = (spec.height + top + bottom, spec.width + left + right)
        rng = np.random.Generator(np.random.PCG64([spec.seed, 5, NAMES.index(spec.name)]))
        at, cloudiness, below = _SETTING[spec.name]
        horizon = top + at * spec.height
        radiance, self._cover = paint_sky(rng, shape, horizon, spec.height, cloudiness)
        self._sea: Sea | None = None
        if below == "land":
            radiance = paint_land(rng, radiance, self._cover, horizon, spec.height)
        else:
            self._sea = Sea(rng, shape, horizon, left + spec.width * rng.uniform(0.3, 0.7), spec.width)
            paint_water(radiance, self._cover, self._sea.top, spec.height)
        self._size = (spec.width, spec.height)
        self._local = blur(radiance, _LOCAL_MEAN_SIGMA)
        fine = np.diag([1 / _OVERSAMPLING, 1 / _OVERSAMPLING])
        finer = cv2.warpAffine(
            radiance,
            np.c_[fine, np.zeros(2)],
            (_OVERSAMPLING * shape[1], _OVERSAMPLING * shape[0]),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        self._canvas = blur(cast(Image, finer), _OVERSAMPLING * _OPTICS_SIGMA)

    def render(self, to_world: Matrix, seconds: float) -> Image:
        """Render the background for one camera pose and time.

        Args:
            to_world: homogeneous 3x3 matrix from picture pixels to world coordinates.
            seconds: time since frame 0 in s.

        Returns:
            (H, W) float32 picture in 14-bit counts.
        """
        to_canvas = np.add(to_world[:2], [[0, 0, self._left], [0, 0, self._top]])
        picture = _warp(self._canvas, _OVERSAMPLING * to_canvas, self._size)
        if self._sea is not None:
            width, height = self._size
            corners = to_canvas @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
            left, top = (max(0, math.floor(v) - 3) for v in corners.min(axis=1))
            right, bottom = (math.ceil(v) + 4 for v in corners.max(axis=1))
            top = max(top, self._sea.top)
            if bottom > top:
                waves = self._sea.radiance(
                    slice(top - self._sea.top, bottom - self._sea.top), slice(left, right), seconds
                )
                picture += _warp(waves, np.subtract(to_canvas, [[0, 0, left], [0, 0, top]]), self._size)
        return picture

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return local mean radiance in 14-bit counts and cloud opacity 0..1 at a world point (nearest pixel)."""
        row = min(max(round(y) + self._top, 0), self._local.shape[0] - 1)
        col = min(max(round(x) + self._left, 0), self._local.shape[1] - 1)
        return float(self._local[row, col]), float(self._cover[row, col])


def _warp(layer: Image, to_layer: Matrix, size: tuple[int, int]) -> Image:
    """Sample a layer under an affine map from picture to layer pixels; 0 outside the layer.

    Args:
        layer: (H, W) layer.
        to_layer: (2, 3) affine matrix from picture to layer pixels.
        size: (width, height) of the result.
    """
    return cast(Image, cv2.warpAffine(layer, to_layer, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP))


def paint_sky(
    rng: np.random.Generator, shape: tuple[int, int], horizon: float, height: int, cloudiness: float
) -> tuple[Image, Image]:
    """Render a clear sky that gets warmer towards the horizon with the air mass, and a cloud layer in perspective.

    Returns:
        Radiance in 14-bit counts and cloud opacity 0..1, each (H, W) float32.
    """
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    up = np.maximum(horizon - y, 0) / height
    sky = 3050 + 1050 * np.exp(-up / 0.2) + 260 * np.exp(-up / 0.7)
    # Clouds at constant height: features shrink towards the horizon; the offset accounts for the earth's curvature.
    depth = 1 / (up + 0.28)
    u = (x - shape[1] / 2) / height * depth * 150
    v = depth * 260
    puffs = fractal(rng, (1024, 1024), 1.75, stretch=(1.0, 1.3), longest=260)
    billow = fractal(rng, (1024, 1024), 1.2, longest=60)
    veil = fractal(rng, (1024, 1024), 1.9, stretch=(1.0, 2.5), longest=300)
    bend_x, bend_y = 9 * sample(billow, u * 0.6, v * 0.6), 9 * sample(billow, u * 0.6 + 300, v * 0.6 + 500)
    density = sample(puffs, u + bend_x, v + bend_y) + 0.22 * sample(billow, u, v)
    edge = 1.25 - 2 * cloudiness
    cover = smoothstep(edge - 0.15, edge + 0.55, density)
    thickness = smoothstep(edge, edge + 2.2, density)
    # Low clouds are as warm as the surrounding air, so they fade towards the horizon.
    haze = np.exp(-up / 0.5)
    warm = 620 * (1 - 0.8 * haze) * (0.45 + 0.55 * thickness) + 45 * sample(billow, u * 1.3, v * 1.3)
    cirrus = 55 * np.maximum(sample(veil, u, v * 1.5), -1) * (1 - haze)
    radiance = sky + cirrus * (1 - cover) + cover * warm
    return radiance.astype(np.float32), cover


def paint_water(radiance: Image, cover: Image, top: int, height: int) -> None:
    """Paint the mean level of the sea, in place.

    Distant water reflects the warm horizon, nearby water the cold sky above.
    """
    below = (np.arange(top, radiance.shape[0], dtype=np.float32) - top)[:, None] / height
    radiance[top:] = 3880 + 90 * np.exp(-below / 0.2) + 200 * np.exp(-below / 0.02)
    cover[top:] = 0
