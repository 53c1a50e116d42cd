"""Exported networks (artefacts): model files made from weights for one library, with a manifest next to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

import nets
from pipeline.detect.backends.parity import Parity
from pipeline.detect.config import Precision
from pipeline.errors import BackendError, ConfigError

Format = Literal["onnx", "openvino", "tensorrt"]
FILES = {"onnx": 1, "openvino": 2, "tensorrt": 1}  # number of files of an artefact
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Meta(pattern=r"^[^/\\]*[^/\\.][^/\\]*$")]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of the manifest's structs."""


class Accuracy(_Section, frozen=True):
    """Results of the strict evaluation protocol on labelled pictures, for the artefact and the reference backend.

    Attributes:
        data: Name of the data set and its split.
        pictures: Number of pictures.
        threshold: Detection threshold, a probability.
        reference: Metrics of the reference backend: iou, niou, pd, fa and so on.
        artefact: The same metrics of the artefact.
    """

    data: str
    pictures: int
    threshold: float
    reference: dict[str, float | None]
    artefact: dict[str, float | None]

    @property
    def iou_loss(self) -> float:
        """Decrease of the pooled IoU from the reference to the artefact; negative if it increased."""
        return (self.reference["iou"] or 0.0) - (self.artefact["iou"] or 0.0)


class Artefact(_Section, frozen=True):
    """Manifest of an exported network.

    Attributes:
        format: Format of the model, which determines the library that runs it.
        precision: Arithmetic precision of the model.
        files: SHA-256 by file name, in the folder of the manifest; the first file is the model.
        weights: Name of the weights that were exported.
        weights_sha256: SHA-256 of their safetensors file.
        input: Input format of the network.
        made_with: Versions of the packages used and, if the files depend on it, the device.
        calibration: Frames that an int8 model was calibrated on.
        parity: Deviation from the reference backend, by the pictures it was measured on.
        accuracy: Accuracy before and after the export, if measured.
    """

    format: Format
    precision: Precision
    files: dict[FileName, Sha256]
    weights: str
    weights_sha256: Sha256
    input: nets.manifest.Input
    made_with: dict[str, str]
    calibration: str = ""
    parity: dict[str, Parity] = {}
    accuracy: Accuracy | None = None


def locate(name_or_path: str | Path) -> Path:
    """Return the path of a manifest, given that path or the name of a shipped artefact."""
    path = Path(name_or_path)
    return path if path.suffix or path.parent != Path() else nets.manifest.FOLDER / f"{path}.json"


def find_next_to(weights: str, fmt: str) -> str | None:
    """Return the manifest of the artefact stored next to the given weights, or None if there is none.

    Args:
        weights: Name of shipped weights, or path.
        fmt: Format as in ``tools.export``, which determines the file name.
    """
    try:
        file = nets.manifest.locate(weights)
    except nets.WeightsError:  # reported when the weights are loaded
        return None
    path = file.with_name(f"{file.stem}-{fmt}.json")
    return str(path) if path.is_file() else None


def read(path: str | Path) -> Artefact:
    """Read the manifest of an exported network.

    Args:
        path: Path of the manifest, or name of a shipped artefact.

    Raises:
        BackendError: The manifest is missing or malformed; the message names the file and the field.
    """
    try:
        return msgspec.json.decode(locate(path).read_bytes(), type=Artefact)
    except OSError as error:
        raise BackendError(f"detect.artefact: {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BackendError(f"detect.artefact: {path}: {error}") from None


def open_files(path: str | Path, fmt: Format, precision: Precision, weights: nets.Manifest) -> list[bytes]:
    """Read the files of an exported network, model first, and verify them against the manifest.

    The returned bytes are the ones that were hashed, so a file cannot be replaced between the check and its use.

    Args:
        path: Path of the manifest, or name of a shipped artefact.
        fmt: Required format.
        precision: Required precision.
        weights: Manifest of the weights that the artefact must have been made from.

    Raises:
        BackendError: Format, precision or weights differ, or a file is missing or has another hash.
    """
    artefact = read(path)
    if artefact.format != fmt:
        raise BackendError(f"detect.artefact: {path}: made for {artefact.format}, but detect.backend is {fmt}")
    if artefact.precision != precision:
        raise BackendError(f"detect.artefact: {path}: runs {artefact.precision}, but detect.precision is {precision}")
    if (artefact.weights_sha256, artefact.input) != (weights.sha256, weights.input):
        made = f"{artefact.weights} ({artefact.weights_sha256[:8]})"
        raise BackendError(f"detect.artefact: {path}: made from {made}, not from {weights.name} ({weights.sha256[:8]})")
    if len(artefact.files) != FILES[fmt]:
        raise BackendError(f"detect.artefact: {path}: files: {FILES[fmt]} needed, there are {len(artefact.files)}")
    return [_checked(locate(path).parent / name, expected) for name, expected in artefact.files.items()]


def write(path: Path, artefact: Artefact, contents: Mapping[str, bytes]) -> Artefact:
    """Write the files of an exported network and its manifest, and return the manifest with their hashes.

    Args:
        path: Path of the manifest; the files are written to the same folder.
        artefact: Manifest; its ``files`` are ignored.
        contents: File contents by name, the model first.

    Raises:
        ConfigError: A file cannot be written.
    """
    files = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    artefact = msgspec.structs.replace(artefact, files=files)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            (path.parent / name).write_bytes(data)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(artefact), indent=2) + b"\n")
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: {error.strerror}") from None
    return artefact


def _checked(path: Path, expected: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackendError(f"detect.artefact: {path}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != expected:
        raise BackendError(f"detect.artefact: {path}: sha256 differs from its manifest")
    return data
