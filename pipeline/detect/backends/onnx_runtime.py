"""Backend that runs the network with the CPU provider of ONNX Runtime."""

from __future__ import annotations

import torch
from torch import Tensor

from nets.export import INPUT, OUTPUT, to_onnx
from nets.fold import fold
from pipeline.detect.backends import artefact
from pipeline.detect.backends.base import Backend, load, require_cpu, threads
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError

try:
    import onnx as _  # noqa: F401 - used by PyTorch's exporter
    import onnxruntime
except ImportError as error:
    raise BackendError(f"detect.backend: onnx cannot be loaded ({error}): pip install onnxruntime onnx") from None


class OnnxBackend(Backend):
    """ONNX Runtime on the CPU, with an artefact or directly with the weights; pictures are processed one by one.

    Raises:
        BackendError: Weights, artefact, device or precision cannot be used.
    """

    name = "onnx"
    precisions = ("fp32",)

    def __init__(self, config: DetectConfig) -> None:
        require_cpu(config, self.name)
        network, manifest = load(config)
        super().__init__(config, manifest)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads(config)
        # Threads that busy-wait for work would take CPU time from the other stages.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            if config.artefact:
                (model,) = artefact.open_files(config.artefact, "onnx", "fp32", manifest)
            else:
                model = to_onnx(fold(network), manifest.input.channels)
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except BackendError:
            raise
        except Exception as error:  # the library's errors share no base class
            reason = str(error).strip().split("\n")[0]
            raise BackendError(f"detect.backend: onnx cannot run {manifest.name}: {reason}") from None

    def run(self, batch: Tensor) -> Tensor:
        """See ``Backend``."""
        (logits,) = self._session.run([OUTPUT], {INPUT: batch.contiguous().numpy()})
        return torch.from_numpy(logits)
