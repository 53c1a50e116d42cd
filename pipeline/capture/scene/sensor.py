"""Sensor model from radiance to counts: noise, fixed pattern, stuck pixels, quantisation."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.scene.spec import SceneSpec
from pipeline.capture.scene.texture import Image

REFERENCE = 4000.0
"""Background level in 14-bit counts at which the temporal noise sigma equals the ``noise`` of the spec."""

DEFAULT_NOISE = SceneSpec(name="sky").noise
_SHOT_SHARE = 0.4


class Sensor:
    """A staring focal plane array. All effects are fixed to its pixels and do not move with the scene."""

    def __init__(self, spec: SceneSpec) -> None:
        height, width = spec.height, spec.width
        self._spec = spec
        self._scale = np.float32(2.0 ** (spec.bit_depth - 14))
        self._full = 2**spec.bit_depth - 1
        rng = np.random.Generator(np.random.PCG64([spec.seed, 3]))
        columns = rng.standard_normal(width) * 0.6
        pixels = rng.standard_normal((height, width)) * 0.8
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        # The outer pixels see the warm housing: a faint bowl, as in uncooled cameras between calibrations.
        bowl = 3.0 * (x**2 + y**2 - 2 / 3)
        self.pattern: Image = (spec.fpn * (columns + pixels + bowl)).astype(np.float32)
        self.stuck = rng.choice(height * width, round(spec.dead * height * width), replace=False)
        self._stuck_at = rng.choice(np.array([0, self._full], np.uint16), len(self.stuck))

    def sigma(self, level: float) -> float:
        """Return the temporal noise sigma in 14-bit counts at a radiance level.

        Computed as sqrt(read^2 + shot^2 level / REFERENCE). If the spec's noise is 0, the default noise is used, so
        that target contrasts stay defined.
        """
        noise = self._spec.noise or DEFAULT_NOISE
        return float(noise * (1 - _SHOT_SHARE + _SHOT_SHARE * max(level, 0.0) / REFERENCE) ** 0.5)

    def expose(self, radiance: Image, rng: np.random.Generator) -> NDArray[np.uint16]:
        """Return one frame (H, W) in counts of the sensor's bit depth, from radiance in 14-bit counts."""
        counts = radiance + self.pattern
        if self._spec.noise:
            gain = np.float32(_SHOT_SHARE / REFERENCE)
            sigma = np.sqrt(np.maximum(radiance, 0) * gain + np.float32(1 - _SHOT_SHARE))
            sigma *= rng.standard_normal(radiance.shape, np.float32)
            sigma *= np.float32(self._spec.noise)
            counts += sigma
        counts *= self._scale
        frame = np.clip(np.rint(counts, out=counts), 0, self._full).astype(np.uint16)
        frame.reshape(-1)[self.stuck] = self._stuck_at
        return cast(NDArray[np.uint16], frame)
