"""A sea surface with travelling waves and sun glint.

Each band of the wave spectrum is a pair of fields in quadrature, A and B, so that A cos wt + B sin wt is a
field of random waves that all have the frequency of the band (deep water: w^2 = g k, Phillips 1977).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.scene.texture import Image, blur, fractal

_GRAVITY = 9.81
_CAMERA_HEIGHT = 6.0
_FIELD_OF_VIEW = 0.16
_WAVELENGTHS = (38.0, 17.0, 8.5, 4.2, 2.0)
_WAVES_PER_BAND = 14
_SPARKLE_HZ = (1.7, 2.9)
_RELIEF = 42.0
_GLINT = 450.0
_OPTICS_SIGMA = 0.65
_MIRROR_SLOPE = 1.3


class Sea:
    """Waves over the part of the canvas below the horizon.

    Args:
        rng: random generator.
        shape: (H, W) of the canvas.
        horizon: canvas row of the horizon; rows below it are sea.
        glint_x: canvas column under the sun or moon.
        width: picture width in px, which corresponds to the field of view.
    """

    def __init__(
        self, rng: np.random.Generator, shape: tuple[int, int], horizon: float, glint_x: float, width: int
    ) -> None:
        self.top = math.ceil(horizon)
        size = (shape[0] - self.top, shape[1])
        pixel = _FIELD_OF_VIEW / width
        below = (np.arange(self.top, shape[0]) - horizon + 0.7)[:, None] * pixel
        distance = _CAMERA_HEIGHT / below
        across = (np.arange(shape[1]) - shape[1] / 2)[None, :] * pixel * distance
        # One pixel covers distance^2 / camera height * pixel angle along the view; shorter waves average out.
        along_pixel, across_pixel = distance**2 / _CAMERA_HEIGHT * pixel, distance * pixel
        wind = rng.uniform(-0.7, 0.7)
        self._bands: list[tuple[float, Image, Image]] = []
        resolved = np.zeros((size[0], 1))
        for length in _WAVELENGTHS:
            number = 2 * math.pi / length
            field = np.zeros(size, np.complex64)
            for _ in range(_WAVES_PER_BAND):
                k = number * rng.uniform(0.7, 1.4)
                bearing = wind + rng.normal(0, 0.8)
                kx, kz = k * math.sin(bearing), k * math.cos(bearing)
                seen = np.exp(-0.5 * ((kz * along_pixel / 3) ** 2 + (kx * across_pixel / 3) ** 2))
                seen *= 1 / math.sqrt(_WAVES_PER_BAND * len(_WAVELENGTHS))
                resolved += seen**2
                phase = kx * across + kz * distance + rng.uniform(0, 2 * math.pi)
                field += (seen * np.exp(1j * np.mod(phase, 2 * math.pi))).astype(np.complex64)
            self._add_band(math.sqrt(_GRAVITY * number), field * math.sqrt(2))
        # Unresolved waves still sparkle, independently in each pixel.
        rest = np.sqrt(np.maximum(1 - resolved, 0) / len(_SPARKLE_HZ))
        for hertz in _SPARKLE_HZ:
            real, imag = (fractal(rng, size, 0.35, stretch=(0.7, 1.8), longest=8) for _ in range(2))
            self._add_band(2 * math.pi * hertz, (rest * (real + 1j * imag)).astype(np.complex64))
        # Distant pixels average over more facets, which leaves less contrast.
        self._relief = (_RELIEF * (0.25 + 0.75 * resolved)).astype(np.float32)
        # The glint lane widens towards the viewer, like the area with slopes that reflect the sun into the lens.
        x = np.arange(shape[1])[None, :] - glint_x
        lane_width = width * (0.035 + 0.12 * below / below.max())
        self._lane = (_GLINT * np.exp(-0.5 * (x / lane_width) ** 2)).astype(np.float32)

    def _add_band(self, omega: float, field: NDArray[np.complex64]) -> None:
        self._bands.append(
            (omega, np.ascontiguousarray(field.real, np.float32), np.ascontiguousarray(field.imag, np.float32))
        )

    def radiance(self, rows: slice, cols: slice, seconds: float) -> Image:
        """Return the radiance that waves and glint add to a part of the canvas, in 14-bit counts.

        Args:
            rows: canvas rows relative to ``self.top``.
            cols: canvas columns.
            seconds: time in s.
        """
        slope = np.zeros_like(self._lane[rows, cols])
        for omega, real, imag in self._bands:
            slope += np.float32(math.cos(omega * seconds)) * real[rows, cols]
            slope += np.float32(math.sin(omega * seconds)) * imag[rows, cols]
        facets = np.maximum(slope - np.float32(_MIRROR_SLOPE), 0)
        return blur(
            self._relief[rows] * slope + self._lane[rows, cols] * facets * (facets + np.float32(0.3)), _OPTICS_SIGMA
        )
