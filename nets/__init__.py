"""Networks: one logits map per picture."""

from nets.manifest import Manifest, WeightsError, deployed, load, load_trained, read_manifest, save
from nets.registry import build

__all__ = ["Manifest", "WeightsError", "build", "deployed", "load", "load_trained", "read_manifest", "save"]
