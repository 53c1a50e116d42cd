"""Defaults that depend on the device: the weights, if none are configured, and the batch size."""

from __future__ import annotations

import msgspec

from pipeline.detect.config import AUTO, DetectConfig

GPU_WEIGHTS = "mshnet"
CPU_WEIGHTS = "edge"


def apply_device_defaults(config: DetectConfig) -> DetectConfig:
    """Return the settings with the automatic weights resolved, and the batch size limited, according to the device.

    The automatic weights are the best ones that keep up with a camera. Two cores do not run MSHNet at the frame rate
    of a camera (docs/performance.md), and a live source drops frames that are not processed in time: its better
    detection there does not make up for the missing frames.

    On a CPU the batch size is 1: frames are processed one after another, so in a larger batch the first frame would
    wait for the last.
    """
    if config.weights != AUTO and config.batch_size == 1:
        return config
    on_gpu = _on_gpu(config.device)
    weights = config.weights if config.weights != AUTO else GPU_WEIGHTS if on_gpu else CPU_WEIGHTS
    return msgspec.structs.replace(config, weights=weights, batch_size=config.batch_size if on_gpu else 1)


def _on_gpu(device: str) -> bool:
    if device != "auto":
        return device != "cpu"
    import torch  # noqa: PLC0415 - takes a second, which is spent only if needed

    return torch.cuda.is_available()
