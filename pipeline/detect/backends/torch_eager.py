"""Backend that runs the network in PyTorch, as it was trained: the reference for all other backends."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.detect.backends.base import Backend, load, threads, torch_device
from pipeline.detect.config import DetectConfig


class TorchBackend(Backend):
    """PyTorch on a CPU or a CUDA device.

    On a CPU, pictures are processed one by one: batching is no faster there, and with several threads the last bit of
    a map depends on the batch. On CUDA, batches are padded to one fixed size for the same reason.

    Raises:
        BackendError: Weights or device cannot be used.
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
        # Otherwise cuDNN may choose TF32 or another algorithm, and fp32 results would be neither exact nor repeatable.
        # "enabled" is off by default in these flags, and convolutions would then be many times slower.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with exact, torch.autocast(self._torch_device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = self._network(batch.to(memory_format=torch.channels_last))
        return logits.float()
