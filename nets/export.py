"""Networks as ONNX and as OpenVINO models, for pictures of any size; both packages are optional."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    import openvino

OPSET = 18
INPUT, OUTPUT = "picture", "logits"
_EXAMPLE_SIDE = 64


def to_onnx(network: nn.Module, channels: int, any_batch: bool = False) -> bytes:
    """A network in eval mode as a serialised ONNX model, ``picture`` (1, C, H, W) -> ``logits`` (1, 1, H, W).

    Args:
        network: plain after ``nets.fold.fold``; its dtype is that of the picture.
        channels: C.
        any_batch: leave the first axis free as well.
    """
    file = io.BytesIO()
    free = {2: "height", 3: "width"} | ({0: "batch"} if any_batch else {})
    with warnings.catch_warnings():
        # The tracer warns of the network's check of the smallest size, and that the dynamo exporter is preferred,
        # which takes twenty times as long for the same graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (_example(network, channels),),
            file,  # type: ignore[arg-type]
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: free, OUTPUT: free},
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


def to_openvino(network: nn.Module, channels: int) -> openvino.Model:
    """A network in eval mode as an OpenVINO model, (1, C, H, W) -> (1, 1, H, W), float32.

    Raises:
        ImportError: the package is missing.
        RuntimeError: the network cannot be converted.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    # Not openvino.convert_model: it reports its use over the internet unless told otherwise.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        decoder = TorchScriptPythonDecoder(network, example_input=(_example(network, channels),))
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape([1, channels, -1, -1])
    return model


def _example(network: nn.Module, channels: int) -> torch.Tensor:
    return torch.zeros(1, channels, _EXAMPLE_SIDE, _EXAMPLE_SIDE, dtype=next(network.parameters()).dtype)
