"""Exported networks: a file made from weights for one library, and beside it the manifest that says what it is."""

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
FILES = {"onnx": 1, "openvino": 2, "tensorrt": 1}
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Meta(pattern=r"^[^/\\]*[^/\\.][^/\\]*$")]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all sections share."""


class Accuracy(_Section, frozen=True):
    """Strict protocol on pictures with truth: the artefact against the reference backend.

    Attributes:
        data: name of the set and of its split.
        pictures: how many.
        threshold: probability.
        reference: figures of the reference backend: iou, niou, pd, fa and so on.
        artefact: the same of the artefact.
    """

    data: str
    pictures: int
    threshold: float
    reference: dict[str, float | None]
    artefact: dict[str, float | None]

    @property
    def iou_loss(self) -> float:
        """How much lower the pooled IoU is, 0..1; negative where it rose."""
        return (self.reference["iou"] or 0.0) - (self.artefact["iou"] or 0.0)


class Artefact(_Section, frozen=True):
    """Everything about an exported network.

    Attributes:
        format: the library it is for.
        precision: of its arithmetic.
        files: sha256 by file name, beside the manifest; the first is the model.
        weights: name of the weights that it was made from.
        weights_sha256: of their safetensors file.
        input: what the network wants to see.
        made_with: versions of the packages, and where the file depends on it, the device.
        calibration: the frames an int8 model was calibrated on.
        parity: how far from the reference backend, by what it was measured on.
        accuracy: before and after, where it was measured.
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
    """The manifest of a shipped exported network, or of a path."""
    path = Path(name_or_path)
    return path if path.suffix or path.parent != Path() else nets.manifest.FOLDER / f"{path}.json"


def beside(weights: str, fmt: str) -> str | None:
    """The manifest of an exported network that lies beside the weights it was made from, as ``tools.export`` names it.

    Args:
        weights: name of shipped ones, or path.
        fmt: of ``tools.export``.
    """
    try:
        file = nets.manifest.locate(weights)
    except nets.WeightsError:  # whoever loads them says so
        return None
    path = file.with_name(f"{file.stem}-{fmt}.json")
    return str(path) if path.is_file() else None


def read(path: str | Path) -> Artefact:
    """The manifest of an exported network.

    Args:
        path: of the manifest, or name of a shipped one.

    Raises:
        BackendError: it is missing or malformed; names the file and the field.
    """
    try:
        return msgspec.json.decode(locate(path).read_bytes(), type=Artefact)
    except OSError as error:
        raise BackendError(f"detect.artefact: {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BackendError(f"detect.artefact: {path}: {error}") from None


def open_files(path: str | Path, fmt: Format, precision: Precision, weights: nets.Manifest) -> list[bytes]:
    """The contents of an exported network's files, the model first, checked against its manifest.

    What was hashed is what is returned: nobody can exchange a file in between.

    Args:
        path: of the manifest, or name of a shipped one.
        fmt: the library that will read them.
        precision: that is asked for.
        weights: that are asked for.

    Raises:
        BackendError: another format, precision or source, or a file that is missing or not the one described.
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
    """Write the files of an exported network and its manifest, with their hashes, which is returned.

    Args:
        path: of the manifest; the files go beside it.
        artefact: its ``files`` do not count.
        contents: by file name, the model first.

    Raises:
        ConfigError: a file cannot be written.
    """
    files = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    artefact = msgspec.structs.replace(artefact, files=files)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            (path.parent / name).write_bytes(data)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(artefact), indent=2) + b"\n")
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from None
    return artefact


def _checked(path: Path, expected: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackendError(f"detect.artefact: {path}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != expected:
        raise BackendError(f"detect.artefact: {path}: sha256 differs from its manifest")
    return data
