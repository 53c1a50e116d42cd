"""Deployed weights: a safetensors file with a JSON manifest beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import torch
from msgspec import Meta, Struct
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from nets.normalisation import FrameZScore
from nets.registry import ARCHITECTURES, Options, build
from nets.two_scales import TwoScales

FOLDER = Path(__file__).resolve().parent / "weights"
SUFFIX = ".safetensors"


class WeightsError(Exception):
    """Weights that cannot be used. The message is one line with the file name and the problem."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all manifest sections."""


class Input(_Section, frozen=True):
    """Input that the network expects.

    Attributes:
        channels: channels of the network input.
        normalisation: how raw counts become the network input.
        scales: 2 to process the halved picture as well, see ``nets.two_scales``.
    """

    channels: Annotated[int, Meta(ge=1)]
    normalisation: FrameZScore
    scales: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        if self.channels != self.normalisation.channels:
            raise ValueError(f"channels is {self.channels}, but normalisation gives {self.normalisation.channels}")


class Training(_Section, frozen=True):
    """Origin of the weights.

    Attributes:
        data: number of training pictures of each data set.
        split: how training and validation pictures were separated.
        recipe: file in ``configs/train``.
        seed: random seed of the run.
        commit: commit of the checkout that published the weights.
        steps: optimiser steps.
        held_out: what these weights and all that they were made from held out, see ``training.lineage``; None if this
            was not recorded.
        note: further remarks.
    """

    data: dict[str, int]
    split: str
    recipe: str
    seed: int
    commit: str
    steps: int
    held_out: dict[str, str] | None = None
    note: str = ""


class Validation(_Section, frozen=True):
    """Accuracy of the weights on held-out pictures, by data set."""

    protocol: str
    split: str
    metrics: dict[str, dict[str, float | int | None]]


class Manifest(_Section, frozen=True):
    """Description of a weights file.

    Attributes:
        name: name of the weights.
        architecture: name known to ``nets.build``.
        options: options of the architecture.
        sha256: hash of the safetensors file.
        input: input that the network expects.
        threshold: minimum probability of a detection.
        training: origin of the weights.
        validation: accuracy on held-out pictures.
        track_threshold: minimum peak probability of a detection that may start a track; None means ``threshold``.
    """

    name: str
    architecture: str
    options: Options
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    input: Input
    threshold: Annotated[float, Meta(gt=0, lt=1)]
    training: Training
    validation: Validation
    track_threshold: Annotated[float, Meta(gt=0, lt=1)] | None = None

    def starts_track(self, threshold: float | None) -> float:
        """Return the minimum peak probability of a detection that may start a track.

        Args:
            threshold: user-set threshold that replaces both thresholds of the manifest, or None.
        """
        return threshold if threshold is not None else self.track_threshold or self.threshold


def locate(name_or_path: str) -> Path:
    """Return the path of the safetensors file, given the name of shipped weights or a path.

    Raises:
        WeightsError: there is no such file.
    """
    path = Path(name_or_path)
    if path.suffix != SUFFIX and path.parent == Path():
        shipped = FOLDER / f"{name_or_path}{SUFFIX}"
        if not shipped.is_file():
            known = ", ".join(sorted(p.stem for p in FOLDER.glob(f"*{SUFFIX}"))) or "none"
            raise WeightsError(f"no shipped weights named {name_or_path!r}; there are: {known}")
        return shipped
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    return path


def read_manifest(name_or_path: str) -> Manifest:
    """Read the manifest beside a weights file.

    Raises:
        WeightsError: the manifest is missing or malformed; the message names the field.
    """
    path = locate(name_or_path).with_suffix(".json")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WeightsError(f"{path}: {error}") from None


def load(name_or_path: str, device: str | torch.device = "cpu") -> tuple[nn.Module, Manifest]:
    """Load a network in its deployed form, in float32 and eval mode, with its manifest.

    Raises:
        WeightsError: the weights or the manifest are missing or invalid.
    """
    network, manifest = load_trained(name_or_path, device)
    return deployed(network, manifest.input), manifest


def deployed(network: nn.Module, network_input: Input) -> nn.Module:
    """Return a trained network in eval mode in the form that its input section requires: one scale or two."""
    return TwoScales(network).eval() if network_input.scales == 2 else network


def load_trained(name_or_path: str, device: str | torch.device = "cpu") -> tuple[nn.Module, Manifest]:
    """Load a network with its weights, in float32 and eval mode, and its manifest, without the two-scale wrapper.

    The hash of the weights file is checked.

    Raises:
        WeightsError: the weights or the manifest are missing or invalid.
    """
    path, manifest = locate(name_or_path), read_manifest(name_or_path)
    if manifest.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise WeightsError(f"{path}: unknown architecture {manifest.architecture!r}; known: {known}")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a safetensors file ({error})") from None
    if sha256(path) != manifest.sha256:
        raise WeightsError(f"{path}: sha256 differs from its manifest; the file is damaged or not the one described")
    if (takes := manifest.options.get("in_channels", 1)) != manifest.input.channels:
        reason = f"the network takes {takes} channels, but its input has {manifest.input.channels}"
        raise WeightsError(f"{path.with_suffix('.json')}: {reason}")
    try:
        # Shapes are checked on the meta device first: options may describe a network too large for memory.
        with torch.device("meta"):
            empty = build(manifest.architecture, **manifest.options)
        _check_shapes(tensors, empty.state_dict())
        network = build(manifest.architecture, **manifest.options)
        network.load_state_dict(tensors)
    except (ValueError, RuntimeError) as error:
        reason = str(error)[:200]
        raise WeightsError(f"{path}: does not fit architecture {manifest.architecture!r}: {reason}") from None
    network.eval().requires_grad_(False)
    return network.to(device).to(memory_format=torch.channels_last), manifest  # type: ignore[call-overload]


def half_precision_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the network's tensors as they are saved: floating-point tensors in half precision.

    Raises:
        ValueError: a value is not finite in half precision; the message names the tensor.
    """
    tensors = {}
    for name, tensor in network.state_dict().items():
        tensors[name] = tensor.detach().to("cpu", torch.float16 if tensor.is_floating_point() else None).contiguous()
        if not tensors[name].isfinite().all():
            raise ValueError(f"{name}: up to {tensor.abs().max():g}, which half precision cannot hold")
    return tensors


def save(path: Path, network: nn.Module, manifest: Manifest) -> Manifest:
    """Write the weights, in half precision, and the manifest, and return the manifest with the hash of the file.

    Existing files are replaced only after both new ones have been written.

    Raises:
        ValueError: a value is not finite in half precision; nothing is written.
        WeightsError: the files cannot be written; existing files are kept.
    """
    weights = to_bytes(half_precision_tensors(network))
    manifest = msgspec.structs.replace(manifest, sha256=hashlib.sha256(weights).hexdigest())
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    contents = {path: weights, path.with_suffix(".json"): text}
    new = {file: file.with_name(f"{file.name}.new") for file in contents}
    if folders := [file for file in contents if file.is_dir()]:
        raise WeightsError(f"{folders[0]}: cannot be written: is a folder")
    try:
        for file, content in contents.items():
            with new[file].open("wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            new[file].chmod(0o644)
        for file in contents:
            new[file].replace(file)
    except OSError as error:
        for file in new.values():
            file.unlink(missing_ok=True)
        raise WeightsError(f"{path}: cannot be written: {error.strerror}") from None
    return manifest


def sha256(path: Path) -> str:
    """Return the SHA-256 hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_shapes(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name in {**expected, **tensors}:
        has, takes = (tuple(state[name].shape) if name in state else "nothing" for state in (tensors, expected))
        if has != takes:
            raise ValueError(f"{name}: the file has {has}, the network takes {takes}")
