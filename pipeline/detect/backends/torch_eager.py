"""The network in PyTorch as it was trained: the reference for all other backends."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.detect.backends.base import Backend, load, threads, torch_device
from pipeline.detect.config import DetectConfig


class TorchBackend(Backend):
    """PyTorch on a CPU or a CUDA device.

    On a CPU, pictures go through one by one: batching brings no speed there, and with several threads the
    last bit depends on the batch. On CUDA, batches are filled up to one fixed size for the same reason.

    Raises:
        BackendError: weights or device cannot be used.
    """

    name = "torch"
    precisions = ("fp32", "bf16")

    def __init__(self, config: DetectConfig) -> None:
        device = torch_device(config)
        self._network, manifest = load(config, device)
        super().__init__(config, manifest, device, batch=1 if device.type == "cpu" else config.batch_size)
        if device.type == "cpu":
            torch.set_num_threads(threads(config))

    def run(self, batch: Tensor) -> Tensor:
        """See ``Backend``."""
        # Without this, cuDNN may choose another algorithm or TF32, and fp32 would be neither fp32 nor repeatable.
        exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        with exact, torch.autocast(self._torch_device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = self._network(batch.to(memory_format=torch.channels_last))
        return logits.float()
