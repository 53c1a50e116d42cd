"""Networks: one logits map per picture."""

from nets.manifest import Manifest, WeightsError, load, read_manifest, save
from nets.registry import build

__all__ = ["Manifest", "WeightsError", "build", "load", "read_manifest", "save"]
