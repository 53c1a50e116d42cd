"""Backend that runs the network with OpenVINO: faster than PyTorch on a CPU, above all in bf16 and int8."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from nets.export import to_openvino
from nets.fold import fold
from pipeline.detect.backends import artefact
from pipeline.detect.backends.base import Backend, load, require_cpu, threads
from pipeline.detect.config import DetectConfig, Precision
from pipeline.errors import BackendError

try:
    import openvino
except ImportError as error:
    raise BackendError(f"detect.backend: openvino cannot be loaded ({error}): pip install openvino") from None

MAX_COMPILED_SIZES = 8
"""Number of compiled models, one per picture size, in the least-recently-used cache."""
_PROBE_SIZE = (64, 64)
# The floating-point layers of an int8 model run in fp32: their few channels make convolutions slower in bf16.
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoBackend(Backend):
    """OpenVINO on the CPU, with an artefact or directly with the weights; int8 needs an artefact.

    The model is compiled for each picture size when the first picture of that size arrives. This is a seventh faster
    than one model for all sizes, which pads even pictures that need no padding. Pictures are processed one by one: a
    batch is no faster on a CPU, and the result does not depend on its other pictures.

    Raises:
        BackendError: Weights, artefact, device or precision cannot be used.
    """

    name = "openvino"
    precisions = ("fp32", "bf16", "int8")

    def __init__(self, config: DetectConfig) -> None:
        require_cpu(config, self.name)
        network, manifest = load(config)
        super().__init__(config, manifest)
        if self.precision == "int8" and not config.artefact:
            raise BackendError("detect.precision: int8 needs detect.artefact; see python -m tools.export --help")
        self._options = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": threads(config),
            "PERFORMANCE_HINT": "LATENCY",
            # With pinning, every process would use the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._core = openvino.Core()
        self._requests: OrderedDict[tuple[int, ...], openvino.InferRequest] = OrderedDict()
        try:
            if config.artefact:
                file_precision: Precision = "int8" if self.precision == "int8" else "fp32"
                model, weights = artefact.open_files(config.artefact, "openvino", file_precision, manifest)
                self._model = self._core.read_model(model, openvino.Tensor(np.frombuffer(weights, np.uint8)))
            else:
                self._model = to_openvino(fold(network), manifest.input.channels)
            self._compiled((1, manifest.input.channels, *_PROBE_SIZE))  # fail now if the model cannot run
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[-1]
            raise BackendError(f"detect.backend: openvino cannot run {manifest.name}: {reason}") from None

    def run(self, batch: Tensor) -> Tensor:
        """See ``Backend``."""
        request = self._compiled(tuple(batch.shape))
        request.infer([batch.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(request.get_output_tensor().data)

    def _compiled(self, shape: tuple[int, ...]) -> openvino.InferRequest:
        if shape not in self._requests:
            if len(self._requests) == MAX_COMPILED_SIZES:
                self._requests.popitem(last=False)
            model = self._model.clone()
            model.reshape(list(shape))
            self._requests[shape] = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        self._requests.move_to_end(shape)
        return self._requests[shape]
