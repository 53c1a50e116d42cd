"""Registry of the backends, and selection of the fastest one that can run on this machine."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

import msgspec
import torch

from pipeline.detect.backends import artefact
from pipeline.detect.backends.base import Backend, torch_device
from pipeline.detect.backends.parity import MAX_IOU_LOSS, TOLERANCES, compare, rendered
from pipeline.detect.config import DetectConfig, Precision
from pipeline.errors import BackendError

BACKENDS = {
    "torch": ("torch_eager", "TorchBackend"),
    "compiled": ("torch_compiled", "CompiledBackend"),
    "onnx": ("onnx_runtime", "OnnxBackend"),
    "openvino": ("openvino_cpu", "OpenVinoBackend"),
    "tensorrt": ("tensor_rt", "TensorRtBackend"),
}
"""Module and class of each backend. Modules are imported only when needed, since their packages may be missing."""

# Fastest first. Those after torch fp32 are used only if configured by name: on a CPU, compiling takes minutes and
# brings nothing, and bf16 brings little without a library made for it.
_ON_CPU: tuple[tuple[str, Precision], ...] = (
    ("openvino", "int8"),
    ("openvino", "bf16"),
    ("openvino", "fp32"),
    ("onnx", "fp32"),
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("compiled", "bf16"),
    ("compiled", "fp32"),
)
_ON_CUDA: tuple[tuple[str, Precision], ...] = (
    ("tensorrt", "fp16"),
    ("compiled", "bf16"),
    ("torch", "fp32"),
    ("compiled", "fp32"),
    ("torch", "bf16"),
)
# Format of tools.export that ``auto`` looks for next to the weights, by device type.
_ARTEFACT_FORMATS = {"cpu": "openvino-int8", "cuda": "tensorrt"}
# Least exact first.
_EXACTNESS: tuple[Precision, ...] = ("int8", "bf16", "fp16", "fp32")


class Selected(NamedTuple):
    """A backend, and a sentence that says why it was chosen."""

    backend: Backend
    reason: str


def make_backend(config: DetectConfig) -> Backend:
    """Create the backend that is configured by name.

    Raises:
        BackendError: Weights, device, artefact or library cannot be used.
    """
    if config.artefact and config.backend in ("torch", "compiled"):
        raise BackendError(f"detect.artefact: the {config.backend} backend runs the weights themselves")
    module, name = BACKENDS[config.backend]
    backend: Backend = getattr(import_module(f"pipeline.detect.backends.{module}"), name)(config)
    return backend


def available(config: DetectConfig) -> list[DetectConfig]:
    """Return a configuration for ``make_backend`` for each backend and precision that can run here, fastest first.

    This imports the packages and reads the manifest of the artefact, but does not load or compile a model. If no
    artefact is configured, one stored next to the weights is considered.

    Args:
        config: Settings of the detect stage; ``backend`` and ``precision`` are ignored.

    Raises:
        BackendError: The device or the artefact cannot be used.
    """
    device = torch_device(config)
    artefact_path = config.artefact or artefact.find_next_to(config.weights, _ARTEFACT_FORMATS.get(device.type, ""))
    manifest = artefact.read(artefact_path) if artefact_path else None
    candidates = []
    for name, precision in _ON_CPU if device.type == "cpu" else _ON_CUDA:
        from_file = manifest is not None and (manifest.format, manifest.precision) == (name, precision)
        if not from_file and (precision == "int8" or name == "tensorrt"):
            continue
        if precision == "bf16" and not _has_bf16(device):
            continue
        try:
            import_module(f"pipeline.detect.backends.{BACKENDS[name][0]}")
        except BackendError:
            continue
        used = artefact_path if from_file else None
        candidates.append(msgspec.structs.replace(config, backend=name, precision=precision, artefact=used))
    return candidates


def select(config: DetectConfig) -> Selected:
    """Create the configured backend; ``auto`` selects the fastest one that agrees with ``torch`` on rendered frames.

    Candidates less exact than ``detect.precision`` are skipped. If it is not set, all precisions are allowed on a CPU,
    and only fp32 on a GPU. Torch in fp32 is the fallback and is not checked.

    Raises:
        BackendError: The weights, the device or the artefact cannot be used.
    """
    if config.backend != "auto":
        return Selected(make_backend(config), "configured")
    choices = available(config)
    fallback = next(c for c in choices if (c.backend, c.precision) == ("torch", "fp32"))
    min_precision = config.precision or ("int8" if torch_device(config).type == "cpu" else "fp32")
    rejected = []
    if config.artefact and not any(choice.artefact for choice in choices):
        rejected.append(f"{config.artefact} cannot run here")
    for choice in choices[: choices.index(fallback)]:
        name = f"{choice.backend} {choice.precision}"
        if _EXACTNESS.index(choice.precision) < _EXACTNESS.index(min_precision):
            rejected.append(f"{name} is less exact than detect.precision {min_precision}")
            continue
        if objection := _accuracy_objection(choice):
            rejected.append(f"{name} {objection}")
            continue
        try:
            # Torch first, so that the thread settings of the candidate are made last.
            reference, backend = make_backend(fallback), make_backend(choice)
            parity = compare(reference, backend, rendered(backend.size))
        except (BackendError, RuntimeError) as error:
            if choice.artefact and config.artefact:  # explicitly configured, so its failure must not be hidden
                raise
            rejected.append(f"{name} fails ({' '.join(str(error).split())[:200]})")
            continue
        if TOLERANCES[backend.precision].holds(parity):
            return Selected(backend, _sentence(f"fastest here that agrees with torch ({parity})", rejected))
        rejected.append(f"{name} is too far from torch ({parity})")
    return Selected(make_backend(fallback), _sentence("the reference, nothing faster can be used", rejected))


def _accuracy_objection(choice: DetectConfig) -> str:
    """Return why an int8 artefact must not be used (accuracy lost or not measured); empty if it may be."""
    if choice.precision != "int8" or choice.artefact is None:
        return ""
    accuracy = artefact.read(choice.artefact).accuracy
    if accuracy is None:
        return "has no measured accuracy"
    if accuracy.iou_loss > MAX_IOU_LOSS:
        return f"loses {100 * accuracy.iou_loss:.2f} IoU points on {accuracy.data}, {100 * MAX_IOU_LOSS:g} allowed"
    return ""


def _sentence(reason: str, rejected: list[str]) -> str:
    return "; ".join([reason, *rejected])


def _has_bf16(device: torch.device) -> bool:
    """Whether the hardware supports bf16; emulated bf16 is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
