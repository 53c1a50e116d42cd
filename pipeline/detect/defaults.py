"""What the device decides: weights where nobody names any, the best that keep up with a camera, and batches."""

from __future__ import annotations

import msgspec

from pipeline.detect.config import AUTO, DetectConfig

GPU_WEIGHTS = "mshnet"
CPU_WEIGHTS = "edge"


def apply_device_defaults(config: DetectConfig) -> DetectConfig:
    """The settings with what the device decides; all others as they are.

    On a CPU batches are of one frame: it runs one after another, and the first would wait for the last.

    Two cores do not run MSHNet at the rate of a camera (docs/performance.md), and a live source drops what is not
    looked at in time: what it sees better there, it sees too seldom.
    """
    if config.weights != AUTO and config.batch_size == 1:
        return config
    on_gpu = _on_gpu(config.device)
    weights = config.weights if config.weights != AUTO else GPU_WEIGHTS if on_gpu else CPU_WEIGHTS
    return msgspec.structs.replace(config, weights=weights, batch_size=config.batch_size if on_gpu else 1)


def _on_gpu(device: str) -> bool:
    if device != "auto":
        return device != "cpu"
    import torch  # noqa: PLC0415 - a second that only this question is worth

    return torch.cuda.is_available()
