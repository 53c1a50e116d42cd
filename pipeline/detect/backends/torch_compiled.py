"""The network compiled by PyTorch: folded, channels last, on a GPU as one CUDA graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nets.fold import fold
from pipeline.detect.backends.base import Backend, load, threads, torch_device
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError

_MAX_SHAPES = 64
"""Sizes of pictures that a run may hold; each is compiled for itself."""


class CompiledBackend(Backend):
    """``torch.compile`` on a CPU or a CUDA device, static in every shape.

    The first picture of each size takes a minute, and needs a C++ compiler on a CPU and Triton on a GPU. There is one
    size of batch, filled up with copies: a graph for each size would bring the last bit of a map into the hands of
    chance, and the replay would no longer be exact.

    Raises:
        BackendError: weights or device cannot be used.
    """

    name = "compiled"
    precisions = ("fp32", "bf16")

    def __init__(self, config: DetectConfig) -> None:
        device = torch_device(config)
        network, manifest = load(config)
        on_cpu = device.type == "cpu"
        super().__init__(config, manifest, device, batch=1 if on_cpu else config.batch_size)
        self._dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        network = fold(network).to(device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if on_cpu:
            torch.set_num_threads(threads(config))
        torch._dynamo.config.recompile_limit = _MAX_SHAPES
        # Constant weights may be laid out as each convolution likes them best.
        options: dict[str, Any] = {"freezing": True, "triton.cudagraphs": not on_cpu}
        self._network = torch.compile(network, fullgraph=True, dynamic=False, options=options)

    def run(self, batch: Tensor) -> Tensor:
        """See ``Backend``; the first call for a shape compiles.

        Raises:
            BackendError: it cannot be compiled here.
        """
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        try:
            with exact:
                logits: Tensor = self._network(batch.to(self._dtype, memory_format=torch.channels_last))  # type: ignore[no-untyped-call]
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().split("\n")[0]
            raise BackendError(f"detect.backend: compiled cannot run {self.manifest.name}: {reason}") from None
        return logits.float()
