"""The network on OpenVINO: faster than PyTorch on a CPU, above all in bf16."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import nets
from pipeline.detect.backend import Maps, network_input
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError
from pipeline.messages import Intensity

try:
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
except ImportError as error:
    raise BackendError(f"detect.backend: openvino cannot be loaded ({error}): pip install openvino") from None

_PRECISION = {"fp32": "f32", "bf16": "bf16"}
_EXAMPLE_SIDE = 64


class OpenVinoBackend:
    """OpenVINO on the CPU; one compiled model serves pictures of every size.

    Pictures go through one by one: a batch is no faster on a CPU, and the bits stay the same whatever it holds.

    Raises:
        BackendError: weights, device or library cannot be used.
    """

    device = "cpu"

    def __init__(self, config: DetectConfig) -> None:
        if config.device not in ("auto", "cpu"):
            raise BackendError(f"detect.device: {config.device!r} cannot be used: the openvino backend runs on the cpu")
        try:
            network, self.manifest = nets.load(config.weights)
        except nets.WeightsError as error:
            raise BackendError(str(error)) from None
        # Torch only normalises here: a second pool of threads would get in the way of OpenVINO's.
        torch.set_num_threads(1)
        options = {
            "INFERENCE_PRECISION_HINT": _PRECISION[config.precision],
            "INFERENCE_NUM_THREADS": config.threads or os.cpu_count() or 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Left to itself, every process would claim the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = _convert(network, self.manifest.input.normalisation.channels)
            self._request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[-1]
            raise BackendError(f"detect.backend: openvino cannot run {self.manifest.name}: {reason}") from None

    @torch.inference_mode()
    def infer(self, pictures: NDArray[Any], intensities: list[Intensity]) -> Maps:
        """See ``Backend``."""
        maps = np.empty(pictures.shape, np.float32)
        norm = self.manifest.input.normalisation
        for i, intensity in enumerate(intensities):
            batch = network_input(pictures[i : i + 1], [intensity], norm).contiguous()
            self._request.infer([batch.numpy()], share_inputs=True)
            logits = torch.from_numpy(self._request.get_output_tensor().data)
            maps[i] = torch.sigmoid(logits)[0, 0].numpy()
        return maps


def _convert(network: torch.nn.Module, channels: int) -> openvino.Model:
    # Not openvino.convert_model: it reports its use over the internet unless told otherwise.
    example = torch.zeros(1, channels, _EXAMPLE_SIDE, _EXAMPLE_SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of the network's check of the smallest size
        decoder = TorchScriptPythonDecoder(network, example_input=(example,))
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape([1, channels, -1, -1])
    return model
