"""Networks as ONNX and as OpenVINO models, for pictures of any size; both packages are optional."""

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
    """A network in eval mode as a serialised ONNX model, ``picture`` (1, C, H, W) -> ``logits`` (1, 1, H, W), float32.

    Args:
        network: plain after ``nets.fold.fold``.
        channels: C.
        fixed: the one size (N, H, W) that it is to run at; none leaves H and W free.

    Raises:
        RuntimeError: the network cannot be converted.
    """
    file, example = io.BytesIO(), _example(channels, fixed or _EXAMPLE)
    if fixed:
        # Sizes are numbers then, where the tracer would have written down how to compute them.
        network = torch.export.export(network, (example,)).module()
    free = {} if fixed else {name: {2: "height", 3: "width"} for name in (INPUT, OUTPUT)}
    with warnings.catch_warnings():
        # The tracer warns of the network's check of the smallest size, and that the dynamo exporter is preferred,
        # which takes twenty times as long for the same graph.
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
    """A network in eval mode as an OpenVINO model, (1, C, H, W) -> (1, 1, H, W), float32.

    Raises:
        ImportError: the package is missing.
        RuntimeError: the network cannot be converted.
    """
    from openvino.frontend import FrontEndManager, OpConversionFailure
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    # Not openvino.convert_model: it reports its use over the internet unless told otherwise.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        decoder = TorchScriptPythonDecoder(network, example_input=(_example(channels, _EXAMPLE),))
    frontend = FrontEndManager().load_by_framework("pytorch")
    try:
        model = frontend.convert(frontend.load(decoder))
    except OpConversionFailure as error:
        raise RuntimeError(str(error).strip().splitlines()[-1]) from None  # the one that names the operations
    model.reshape([1, channels, -1, -1])
    return model


class Half(nn.Module):
    """A network that computes in float16 what it takes and gives in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, picture: Tensor) -> Tensor:
        return self.network(picture.half()).float()  # type: ignore[no-any-return]


def _example(channels: int, size: tuple[int, int, int]) -> Tensor:
    count, height, width = size
    return torch.zeros(count, channels, height, width)
