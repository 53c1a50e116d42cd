"""Export weights to an inference library, with a manifest of how closely the result agrees with them.

    python -m tools.export --weights NAME --format onnx|openvino|openvino-int8|tensorrt --out DIR
        [--calibrate FRAMES]... [--truth DIR --split FILE] [--size N H W]

To use the export, run the pipeline with ``--set detect.artefact=DIR/NAME-FORMAT.json`` and set ``detect.backend`` to
its library or to ``auto``. ``--calibrate`` (required for int8) takes folders of pictures, data sets in BasicIRSTD
layout and recordings. ``--truth`` is a data set on which the strict protocol is evaluated before and after the export;
its pictures are excluded from calibration.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import nn

import nets
from nets.export import HalfPrecision, to_onnx, to_openvino
from nets.fold import fold
from pipeline.capture.source import Picture
from pipeline.detect.backends import Backend, artefact, make_backend, network_input
from pipeline.detect.backends.artefact import Accuracy, Artefact
from pipeline.detect.backends.base import Maps
from pipeline.detect.backends.parity import Change, Parity, compare, parity, rendered
from pipeline.detect.config import DetectConfig, Precision
from pipeline.errors import BackendError, ConfigError, PipelineError, one_line
from pipeline.preprocess.intensity import measure
from tools.calibration import calibration_frames, portable_addresses
from tools.quantise import quantise, serialise
from training.data import read_sample, split_file_names
from training.metrics.strict import StrictScore

SIZE = (8, 512, 640)
FIGURES = ("iou", "niou", "pd", "fa", "false_alarms_per_picture")


class Order(NamedTuple):
    """Inputs of an export.

    Attributes:
        frames: pictures for int8 calibration, each with its change picture if that is known.
        size: (N, H, W) of the batches of a TensorRT engine.
    """

    frames: Sequence[tuple[Picture, Change]]
    size: tuple[int, int, int]


Make = Callable[[nn.Module, nets.Manifest, Order], tuple[bytes, ...]]


def _onnx(network: nn.Module, manifest: nets.Manifest, _: Order) -> tuple[bytes, ...]:
    return (to_onnx(fold(network), manifest.input.channels),)


def _openvino(network: nn.Module, manifest: nets.Manifest, _: Order) -> tuple[bytes, ...]:
    return serialise(to_openvino(fold(network), manifest.input.channels))


def _int8(network: nn.Module, manifest: nets.Manifest, order: Order) -> tuple[bytes, ...]:
    if not order.frames:
        raise ConfigError("--calibrate: int8 needs frames for calibration")
    return quantise(network, manifest.input.channels, [_input(*frame, manifest) for frame in order.frames])


def _tensorrt(network: nn.Module, manifest: nets.Manifest, order: Order) -> tuple[bytes, ...]:
    from pipeline.detect.backends.tensor_rt import build_engine  # noqa: PLC0415 - optional package

    return (build_engine(to_onnx(HalfPrecision(fold(network)), manifest.input.channels, order.size)),)


# By format: library, precision, required packages, suffixes of the files, and the function that makes them.
FORMATS: dict[str, tuple[artefact.Format, Precision, tuple[str, ...], tuple[str, ...], Make]] = {
    "onnx": ("onnx", "fp32", ("onnx", "onnxruntime"), (".onnx",), _onnx),
    "openvino": ("openvino", "fp32", ("openvino",), (".xml", ".bin"), _openvino),
    "openvino-int8": ("openvino", "int8", ("openvino", "nncf"), (".xml", ".bin"), _int8),
    "tensorrt": ("tensorrt", "fp16", ("tensorrt",), (".engine",), _tensorrt),
}


def export(
    weights: str,
    fmt: str,
    out: Path,
    calibrate: Sequence[str] = (),
    truth: tuple[Path, str] | None = None,
    size: tuple[int, int, int] = SIZE,
) -> Path:
    """Write an exported network and its manifest.

    Args:
        weights: shipped name, or path of a safetensors file.
        fmt: key of ``FORMATS``.
        out: output folder, created if missing.
        calibrate: folders of pictures, data sets or recordings for calibration.
        truth: folder of a data set and its split file.
        size: (N, H, W) of the batches of a TensorRT engine.

    Returns:
        Path of the manifest.

    Raises:
        BackendError: weights or library cannot be used.
        ConfigError: pictures cannot be read, or files cannot be written.
    """
    library, precision, packages, suffixes, make = FORMATS[fmt]
    # The reference first: it rejects unusable weights, and the library must set up its threads after torch.
    reference = make_backend(DetectConfig(weights=weights, backend="torch", device="cpu"))
    manifest = reference.manifest
    judged = truth_pictures(truth) if truth else []
    frames = calibration_frames(calibrate, [path for path, _ in judged])
    network, _ = nets.load(weights)
    try:
        files = make(network, manifest, Order(frames, size))
    except (ImportError, RuntimeError) as error:
        raise BackendError(f"--format {fmt}: {str(error).splitlines()[0]}") from None

    stem = f"{manifest.name}-{fmt}"
    made = Artefact(
        format=library,
        precision=precision,
        files={},
        weights=manifest.name,
        weights_sha256=manifest.sha256,
        input=manifest.input,
        made_with={"torch": version("torch")} | {name: version(name) for name in packages},
        calibration=f"{len(frames)} pictures of {', '.join(portable_addresses(calibrate))}" if frames else "",
    )
    path = out / f"{stem}.json"
    contents = {f"{stem}{suffix}": data for suffix, data in zip(suffixes, files, strict=True)}
    made = artefact.write(path, made, contents)

    candidate = make_backend(DetectConfig(weights=weights, backend=library, precision=precision, artefact=str(path)))
    agreement = {"rendered": compare(reference, candidate, rendered(candidate.size))}
    if frames:
        pictures, changes = zip(*frames[:: max(1, len(frames) // 10)], strict=True)
        agreement["calibration frames"] = compare(reference, candidate, pictures, changes)
    accuracy = None
    if truth:
        agreement["truth"], accuracy = score(reference, candidate, truth[0], [name for _, name in judged])
    artefact.write(path, msgspec.structs.replace(made, parity=agreement, accuracy=accuracy), contents)
    return path


def score(reference: Backend, other: Backend, data: Path, chosen: Sequence[str]) -> tuple[Parity, Accuracy]:
    """Evaluate parity and the strict protocol of two backends on the same pictures, running each once per picture.

    Args:
        reference: the torch backend.
        other: another backend with the same weights.
        data: folder of a data set.
        chosen: names of the pictures to use.
    """
    threshold = reference.manifest.threshold
    cut = math.log(threshold / (1 - threshold))
    pairs: list[tuple[Maps, Maps]] = []
    scores = StrictScore(), StrictScore()
    for name in chosen:
        sample = read_sample(data, name)
        pair = _logits(reference, sample.picture), _logits(other, sample.picture)
        for result, logits in zip(scores, pair, strict=True):
            result.update(logits >= cut, sample.mask > 0)
        pairs.append(pair)
    before, after = ({key: result.summary()[key] for key in FIGURES} for result in scores)
    accuracy = Accuracy(
        data=data.resolve().name, pictures=len(chosen), threshold=threshold, reference=before, artefact=after
    )
    return parity(pairs, cut), accuracy


def truth_pictures(truth: tuple[Path, str]) -> list[tuple[Path, str]]:
    """Return path and name of the pictures in a split of a data set, after checking that all can be read.

    Raises:
        ConfigError: the split, a picture or a mask cannot be used.
    """
    data, split = truth
    chosen = split_file_names(data, split)
    for name in chosen:
        read_sample(data, name)  # fail before the export, not after it
    return [((data / "images" / f"{name}.png").resolve(), name) for name in chosen]


def _input(picture: Picture, change: Change, manifest: nets.Manifest) -> NDArray[np.float32]:
    norm = manifest.input.normalisation
    planes = picture[None] if change is None else np.stack([picture, change.astype(picture.dtype)])
    made: NDArray[np.float32] = network_input(planes[None], [measure(picture, norm)], norm).contiguous().numpy()
    return made


def _logits(backend: Backend, picture: Picture) -> Maps:
    logits: Maps = backend.logits(picture[None], [measure(picture, backend.manifest.input.normalisation)])[0]
    return logits


def report(made: Artefact) -> str:
    """Format the figures of a manifest, one per line; those that need a target are a dash without one."""
    lines = [f"{on} ({p.pictures} pictures): {p}" for on, p in made.parity.items()]
    if accuracy := made.accuracy:
        for name, before in accuracy.reference.items():
            figures = ("-" if figure is None else f"{figure:.4f}" for figure in (before, accuracy.artefact[name]))
            lines.append(f"{accuracy.data} {name}: {' -> '.join(figures)}")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(prog="tools.export", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--weights", required=True, metavar="NAME_OR_PATH", help="weights: shipped name or path")
    parser.add_argument(
        "--format", required=True, choices=sorted(FORMATS), dest="fmt", help="library and precision to export to"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder, created if missing")
    parser.add_argument(
        "--calibrate",
        action="append",
        default=[],
        metavar="FRAMES",
        help="int8 calibration data; repeatable",
    )
    parser.add_argument("--truth", type=Path, metavar="DIR", help="data set with images/ and masks/ to evaluate on")
    parser.add_argument("--split", metavar="FILE", help="list of picture names, also relative to --truth")
    parser.add_argument(
        "--size",
        type=int,
        nargs=3,
        default=SIZE,
        metavar=("N", "H", "W"),
        help="TensorRT batch size, height, width",
    )
    args = parser.parse_args(argv)
    if (args.truth is None) != (args.split is None):
        parser.error("--truth and --split must be given together")
    try:
        truth = (args.truth, args.split) if args.truth else None
        path = export(args.weights, args.fmt, args.out, args.calibrate, truth, tuple(args.size))
        sys.stdout.write(f"{path}\n{report(artefact.read(path))}\n")
    except PipelineError as error:
        sys.stderr.write(f"tools.export: error: {one_line(error)}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
