"""Post-training quantisation of a network to int8 on OpenVINO."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nets.export import to_openvino
from nets.fold import fold
from pipeline.errors import BackendError

if TYPE_CHECKING:
    import openvino

_SIDE = 256


def quantise(network: nn.Module, channels: int, inputs: Sequence[NDArray[np.float32]]) -> tuple[bytes, bytes]:
    """Quantise a network to an int8 OpenVINO model; return its description and its weights.

    Weights are quantised per output channel, activations per tensor over the full range that they reach on the inputs.
    Targets are the rarest values of all, so a range that leaves out outliers would clip them. These parts stay in
    floating point: the first and the last convolutions, everything at full picture resolution (one quantisation step
    there decides a mask pixel), all maps of one channel (heads, spatial gates) and all pooled vectors.

    Args:
        network: network in eval mode.
        channels: number of input channels.
        inputs: representative network inputs, (1, C, H, W) each, of any sizes.

    Raises:
        BackendError: the packages are missing or fail.
    """
    # NNCF sends usage data over the internet unless this variable is set.
    os.environ["NNCF_CI"] = "1"
    try:
        import nncf  # noqa: PLC0415
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet  # noqa: PLC0415
    except ImportError as error:
        raise BackendError(f"--format openvino-int8: {error}: pip install nncf openvino") from None
    nncf.set_log_level(30)  # warnings
    model = to_openvino(fold(network), channels)
    try:
        quantised = nncf.quantize(
            model,
            nncf.Dataset(inputs),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(names=_exact(model), validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )
    except (RuntimeError, nncf.InternalError, nncf.ValidationError) as error:
        raise BackendError(f"--format openvino-int8: {error}") from None
    return serialise(quantised)


def serialise(model: openvino.Model) -> tuple[bytes, bytes]:
    """Serialise an OpenVINO model to the contents of its two files, the description and the weights."""
    from openvino import save_model  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        save_model(model, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _exact(model: openvino.Model) -> list[str]:
    """Return the names of the operations that stay in floating point."""
    sized = model.clone()
    channels = sized.input().get_partial_shape()[1].get_length()
    sized.reshape([1, channels, _SIDE, _SIDE])
    names = _next_convolutions(sized.get_parameters(), _readers) | _next_convolutions(sized.get_results(), _sources)
    for op in sized.get_ordered_ops():
        shape = op.get_output_partial_shape(0) if op.get_output_size() else None
        if shape is None or shape.is_dynamic or len(shape) != 4 or op.get_type_name() == "Constant":
            continue
        _, maps, height, width = shape.to_shape()
        if (height, width) in ((_SIDE, _SIDE), (1, 1)) or maps == 1:
            names.add(op.get_friendly_name())
    return sorted(names)


def _next_convolutions(
    ops: Sequence[openvino.Node], beside: Callable[[openvino.Node], list[openvino.Node]]
) -> set[str]:
    """Find the first convolutions on every path from the given operations, forwards or backwards."""
    found, ahead, seen = set(), list(ops), set()
    while ahead:
        op = ahead.pop()
        name, kind = op.get_friendly_name(), op.get_type_name()
        if name in seen or kind in ("Constant", "ShapeOf"):
            continue
        seen.add(name)
        if kind == "Convolution":
            found.add(name)
        else:
            ahead += beside(op)
    return found


def _readers(op: openvino.Node) -> list[openvino.Node]:
    return [reader.get_node() for output in op.outputs() for reader in output.get_target_inputs()]


def _sources(op: openvino.Node) -> list[openvino.Node]:
    return [wanted.get_source_output().get_node() for wanted in op.inputs()]
