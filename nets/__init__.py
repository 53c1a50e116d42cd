"""Detection networks: each maps a picture to one logits map of the same size."""

from nets.manifest import Manifest, WeightsError, deployed, load, load_trained, read_manifest, save
from nets.registry import build

__all__ = ["Manifest", "WeightsError", "build", "deployed", "load", "load_trained", "read_manifest", "save"]
