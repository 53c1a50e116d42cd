"""A rendered infrared scene with exact ground truth; any frame can be rendered on demand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.scene.background import Background
from pipeline.capture.scene.camera import Camera
from pipeline.capture.scene.sensor import Sensor
from pipeline.capture.scene.spec import SceneSpec
from pipeline.capture.scene.targets import Body, TargetSet, TargetTruth
from pipeline.capture.scene.texture import Image
from pipeline.messages import Affine


class Scene:
    """Frames and ground truth of a scene spec.

    Frame k depends only on the spec and on k: frames can be requested in any order, and the same spec gives the same
    bytes on the same machine and library versions.
    """

    def __init__(self, spec: SceneSpec) -> None:
        self.spec = spec
        self._camera = Camera(spec)
        self._background = Background(spec, self._camera.reach)
        self._targets = TargetSet(spec, self._camera)
        self._sensor = Sensor(spec)

    def __len__(self) -> int:
        return self.spec.frames

    def frame(self, k: int) -> NDArray[np.uint16]:
        """Return frame k as the sensor outputs it: (H, W) in counts of the spec's bit depth."""
        radiance = self.radiance(k)
        return self._sensor.expose(radiance, np.random.Generator(np.random.PCG64([self.spec.seed, 0, k])))

    def stuck(self) -> NDArray[np.bool_]:
        """Return the (H, W) mask of pixels that have the same value in every frame, whatever the scene shows."""
        mask = np.zeros((self.spec.height, self.spec.width), bool)
        mask.reshape(-1)[self._sensor.stuck] = True
        return mask

    def truth(self, k: int) -> list[TargetTruth]:
        """Return the targets whose centroid lies in the picture of frame k, including hidden ones."""
        return [truth for truth, *_ in self._present(k) if self._inside(truth.x, truth.y)]

    def ego(self, k: int) -> Affine:
        """Return (a, b, tx, c, d, ty) from pixels of frame k - 1 to pixels of frame k; identity for k = 0."""
        self._check(k)
        return self._camera.ego(k)

    def radiance(self, k: int, *, targets: bool = True) -> Image:
        """Return frame k before the sensor: (H, W) float32 in 14-bit counts, without noise or fixed pattern.

        Args:
            k: frame index.
            targets: False leaves out the targets.
        """
        self._check(k)
        picture = self._background.render(self._camera.to_world(k), k / self.spec.fps)
        if targets:
            for truth, body, level, share in self._present(k):
                rows, cols, profile = body.picture(truth.x, truth.y, picture.shape)
                contrast = truth.snr * self._sensor.sigma(level)
                patch = picture[rows, cols]
                patch += profile * ((level - patch) * (body.opaque * share) + contrast)
        return picture

    def _present(self, k: int) -> list[tuple[TargetTruth, Body, float, float]]:
        """Return the targets that may touch the picture of frame k.

        Returns:
            Truth, body, local background level in 14-bit counts, and visible fraction of the contrast, per target.
        """
        self._check(k)
        world = self._targets.positions(k)
        pixels = np.c_[world, np.ones(len(world))] @ np.linalg.inv(self._camera.to_world(k))[:2].T
        presence = self._targets.presence(k)
        found = []
        for i, (x, y) in enumerate(pixels.tolist()):
            body = self._targets.bodies[i]
            if not presence[i] or not self._inside(x, y, margin=max(body.w, body.h) + 5):
                continue
            level, cover = self._background.at(*world[i].tolist())
            share = float(presence[i]) * (1 - cover * self._targets.hidden[i])
            truth = TargetTruth(i, x, y, body.w, body.h, float(self._targets.snr[i]) * share, share >= 0.5)
            found.append((truth, body, level, share))
        return found

    def _inside(self, x: float, y: float, margin: float = 0.0) -> bool:
        return (
            -0.5 - margin <= x < self.spec.width - 0.5 + margin and -0.5 - margin <= y < self.spec.height - 0.5 + margin
        )

    def _check(self, k: int) -> None:
        if not 0 <= k < self.spec.frames:
            raise IndexError(f"frame {k} of a scene of {self.spec.frames}")
