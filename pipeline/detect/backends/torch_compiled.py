"""Backend that runs the network with ``torch.compile``, on a GPU as one CUDA graph from raw counts to logits."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nets.fold import fold
from nets.on_gpu import for_gpu
from pipeline.detect.backends.base import Backend, load, threads, torch_device
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError

_MAX_SHAPES = 64
"""Largest number of picture sizes in a run; the network is compiled for each of them."""
_WARM_UPS = 2


class Recording(NamedTuple):
    """A CUDA graph with its input and output tensors, see ``Backend.forward``."""

    graph: torch.cuda.CUDAGraph
    planes: Tensor
    mean_gain: Tensor
    logits: Tensor


class CompiledBackend(Backend):
    """``torch.compile`` on a CPU or a CUDA device, with static shapes.

    The first picture of each size takes a minute, and needs a C++ compiler on a CPU and Triton on a GPU. Batches are
    padded to one fixed size: with a graph for each batch size, the last bit of a map would depend on how pictures
    happen to be batched, and a replay would no longer be exact.

    Raises:
        BackendError: Weights or device cannot be used.
    """

    name = "compiled"
    precisions = ("fp32", "bf16")

    def __init__(self, config: DetectConfig) -> None:
        device = torch_device(config)
        network, manifest = load(config)
        on_cpu = device.type == "cpu"
        super().__init__(config, manifest, device, batch=1 if on_cpu else config.batch_size)
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        network = fold(network).to(device, dtype)
        if on_cpu:
            torch.set_num_threads(threads(config))
        else:
            network = for_gpu(network)
        torch._dynamo.config.recompile_limit = _MAX_SHAPES
        # On a CPU, freezing lets the compiler choose the best memory layout of the weights for each convolution. On a
        # GPU they are channels last already, and freezing would keep the compiled code out of the cache on disk. There
        # "deterministic" stops the choice by measured time between kernels that differ in their last bits.
        options: dict[str, Any] = {"freezing": True} if on_cpu else {"deterministic": True}
        compiler = partial(torch.compile, fullgraph=True, dynamic=False, options=options)
        self._network = compiler(_Typed(network.to(memory_format=torch.channels_last), dtype))  # type: ignore[call-overload]
        if not on_cpu:
            self.normalise = compiler(super().normalise)  # type: ignore[method-assign]
            self._side_stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._recordings: dict[tuple[Any, ...], Recording] = {}
        self._pool: Any = None

    def run(self, batch: Tensor) -> Tensor:
        """See ``Backend``."""
        # "enabled" is off by default in these flags, and convolutions would then be many times slower.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            logits: Tensor = self._network(batch)
        return logits

    def forward(self, planes: Tensor, mean_gain: Tensor) -> Tensor:
        """See ``Backend``; on a GPU this replays a CUDA graph, one launch instead of a thousand.

        The first call for a shape compiles the network.

        Raises:
            BackendError: The network cannot be compiled on this machine, or for so many shapes.
        """
        key = (*planes.shape, planes.dtype)
        try:
            if self._torch_device.type == "cpu":
                return super().forward(planes, mean_gain)
            if key not in self._recordings:
                self._recordings[key] = self._record(planes, mean_gain)
        except (torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit) as error:
            reason = str(error).strip().split("\n")[0]
            raise BackendError(f"detect.backend: compiled cannot run {self.manifest.name}: {reason}") from None
        recording = self._recordings[key]
        recording.planes.copy_(planes)
        recording.mean_gain.copy_(mean_gain)
        recording.graph.replay()
        return recording.logits

    def shrink(self, batch: int) -> None:
        """See ``Backend``."""
        self._recordings.clear()
        self._pool = None
        super().shrink(batch)

    def _record(self, planes: Tensor, mean_gain: Tensor) -> Recording:
        """Compile the network for one shape, and capture its kernel launches in a CUDA graph."""
        planes, mean_gain = planes.clone(), mean_gain.clone()
        self._side_stream.wait_stream(torch.cuda.current_stream(self._torch_device))
        with torch.cuda.stream(self._side_stream):
            for _ in range(_WARM_UPS):
                super().forward(planes, mean_gain)
        torch.cuda.current_stream(self._torch_device).wait_stream(self._side_stream)
        # Graphs may share a memory pool: they run one after another, and the logits are read before the next replay.
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # On the stream that has the workspaces of the warm-up. Other threads may continue to use CUDA meanwhile.
        with torch.cuda.graph(graph, self._pool, self._side_stream, capture_error_mode="thread_local"):
            logits = super().forward(planes, mean_gain)
        return Recording(graph, planes, mean_gain, logits)


class _Typed(nn.Module):
    """Run a network in the given dtype and channels last, with float32 input and output."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self._dtype = network, dtype

    def forward(self, batch: Tensor) -> Tensor:
        logits: Tensor = self.network(batch.to(self._dtype, memory_format=torch.channels_last))
        return logits.float()
