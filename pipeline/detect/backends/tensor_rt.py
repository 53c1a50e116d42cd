"""Backend that runs the network as a TensorRT engine, built for one GPU, one picture size and one batch size."""

from __future__ import annotations

import torch
from torch import Tensor

from nets.export import INPUT, OUTPUT
from pipeline.detect.backends import artefact
from pipeline.detect.backends.base import Backend, load, torch_device
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError

try:
    import tensorrt
except ImportError as error:
    raise BackendError(f"detect.backend: tensorrt cannot be loaded ({error}): pip install tensorrt") from None


class TensorRtBackend(Backend):
    """TensorRT on a CUDA device; always needs an artefact, since building an engine takes minutes.

    Raises:
        BackendError: Weights, artefact, device or precision cannot be used.
    """

    name = "tensorrt"
    precisions = ("fp16",)

    def __init__(self, config: DetectConfig) -> None:
        device = torch_device(config)
        if device.type != "cuda":
            raise BackendError(f"detect.device: {config.device!r} cannot be used: the tensorrt backend runs on cuda")
        if not config.artefact:
            raise BackendError("detect.backend: tensorrt needs detect.artefact; see python -m tools.export --help")
        _, manifest = load(config)
        (data,) = artefact.open_files(config.artefact, "tensorrt", config.precision or "fp16", manifest)
        # Each of these objects must outlive the next one.
        self._logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        with torch.cuda.device(device):
            self._runtime = tensorrt.Runtime(self._logger)
            self._engine = self._runtime.deserialize_cuda_engine(data)
            if self._engine is None:
                reason = f"no engine for this GPU and TensorRT {tensorrt.__version__}"
                raise BackendError(f"detect.artefact: {config.artefact}: {reason}")
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise BackendError(f"detect.artefact: {config.artefact}: no memory for the engine on {device}")
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._shape = tuple(self._engine.get_tensor_shape(INPUT))
        self.size = self._shape[2], self._shape[3]
        super().__init__(config, manifest, device, batch=self._shape[0])

    def run(self, batch: Tensor) -> Tensor:
        """See ``Backend``.

        Raises:
            BackendError: The pictures do not have the size of the engine.
        """
        if batch.shape != self._shape:
            has, takes = (f"{shape[3]}x{shape[2]} in batches of {shape[0]}" for shape in (batch.shape, self._shape))
            raise BackendError(f"detect.artefact: the engine takes pictures of {takes}, not of {has}")
        batch = batch.contiguous()
        logits = torch.empty((len(batch), 1, *batch.shape[2:]), device=self._torch_device)
        self._context.set_tensor_address(INPUT, batch.data_ptr())
        self._context.set_tensor_address(OUTPUT, logits.data_ptr())
        # On the default stream, TensorRT would wait for the transfers that overlap with the computation.
        current = torch.cuda.current_stream(self._torch_device)
        self._stream.wait_stream(current)
        started = self._context.execute_async_v3(self._stream.cuda_stream)
        current.wait_stream(self._stream)
        if not started:
            raise BackendError("detect.backend: tensorrt failed to run the engine")
        return logits

    def shrink(self, batch: int) -> None:
        """See ``Backend``.

        Raises:
            BackendError: Always, since the batch size is built into the engine.
        """
        reason = f"no memory for the engine's batch of {self._batch}; export a smaller one"
        raise BackendError(f"detect.artefact: {self.device} has {reason}")


def build_engine(onnx: bytes) -> bytes:
    """Build a serialised engine for the GPU of this machine.

    Args:
        onnx: ONNX model with fixed sizes; every layer runs in the dtype that it has in the model.

    Raises:
        BackendError: TensorRT cannot build the engine, for example because there is no GPU.
    """
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    try:
        builder = tensorrt.Builder(logger)
        network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    except (TypeError, RuntimeError) as error:  # raised by the constructors if there is no GPU
        raise BackendError(f"--format tensorrt: no engine can be built here ({error})") from None
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        raise BackendError(f"--format tensorrt: {parser.get_error(0).desc()}")
    engine = builder.build_serialized_network(network, builder.create_builder_config())
    if engine is None:
        raise BackendError("--format tensorrt: the engine cannot be built")
    return bytes(engine)
