"""Rendered 16-bit infrared scenes with exact ground truth (``test://``)."""

from __future__ import annotations

from pipeline.capture.scene.scene import Scene
from pipeline.capture.scene.spec import SceneSpec
from pipeline.capture.scene.targets import TargetTruth

__all__ = ["Scene", "SceneSpec", "TargetTruth"]
