"""Which weights a run takes where nobody names any: the best that keep up with a camera on its device."""

from __future__ import annotations

import msgspec

from pipeline.detect.config import AUTO, DetectConfig

ON_GPU = "mshnet"
ON_CPU = "edge"


def settle(config: DetectConfig) -> DetectConfig:
    """The settings with a name in the place of ``weights: auto``; all others as they are.

    Two cores do not run MSHNet at the rate of a camera (docs/performance.md), and a live source drops what is not
    looked at in time: what it sees better there, it sees too seldom.
    """
    if config.weights != AUTO:
        return config
    return msgspec.structs.replace(config, weights=ON_GPU if _on_gpu(config.device) else ON_CPU)


def _on_gpu(device: str) -> bool:
    if device != "auto":
        return device != "cpu"
    import torch  # noqa: PLC0415 - a second that only this question is worth

    return torch.cuda.is_available()
