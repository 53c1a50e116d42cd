"""Export of networks to ONNX and OpenVINO for pictures of any size; both packages are optional."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import openvino

OPSET = 18
INPUT, OUTPUT = "picture", "logits"
_EXAMPLE = (1, 64, 64)


def to_onnx(network: nn.Module, channels: int, fixed: tuple[int, int, int] | None = None) -> bytes:
    """Convert a network in eval mode to a serialised ONNX model.

    The model maps ``picture`` (1, C, H, W) to ``logits`` (1, 1, H, W), both float32.

    Args:
        network: plain network from ``nets.fold.fold``.
        channels: C.
        fixed: the only size (N, H, W) at which the model will run; None leaves H and W free.

    Raises:
        RuntimeError: the network cannot be converted.
    """
    file, example = io.BytesIO(), _example(channels, fixed or _EXAMPLE)
    if fixed:
        # This makes sizes constants; the tracer alone would record the operations that compute them.
        network = torch.export.export(network, (example,)).module()
    free = {} if fixed else {name: {2: "height", 3: "width"} for name in (INPUT, OUTPUT)}
    with warnings.catch_warnings():
        # The tracer warns about the network's check of the minimum size. It also recommends the dynamo exporter,
        # which takes twenty times as long to produce the same graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            file,  # type: ignore[arg-type]
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    return file.getvalue()


def to_openvino(network: nn.Module, channels: int) -> openvino.Model:
    """Convert a network in eval mode to an OpenVINO model, (1, C, H, W) -> (1, 1, H, W), float32.

    Raises:
        ImportError: the package is missing.
        RuntimeError: the network cannot be converted.
    """
    from openvino.frontend import FrontEndManager, OpConversionFailure
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    # Avoids openvino.convert_model, which sends telemetry over the internet by default.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        decoder = TorchScriptPythonDecoder(network, example_input=(_example(channels, _EXAMPLE),))
    frontend = FrontEndManager().load_by_framework("pytorch")
    try:
        model = frontend.convert(frontend.load(decoder))
    except OpConversionFailure as error:
        raise RuntimeError(str(error).strip().splitlines()[-1]) from None  # the last line names the operations
    model.reshape([1, channels, -1, -1])
    return model


class HalfPrecision(nn.Module):
    """Wrapper that runs a network in float16, with float32 input and output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, picture: Tensor) -> Tensor:
        return self.network(picture.half()).float()  # type: ignore[no-any-return]


def _example(channels: int, size: tuple[int, int, int]) -> Tensor:
    count, height, width = size
    return torch.zeros(count, channels, height, width)
