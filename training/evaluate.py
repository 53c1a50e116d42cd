"""Score weights on a set of stills: ``python -m training.evaluate --weights NAME_OR_PATH --data DIR --split FILE``.

The data set has the BasicIRSTD layout: ``images/NAME.png``, ``masks/NAME.png`` and a text file of names.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

import nets
from nets.normalisation import Picture
from pipeline import output_file
from pipeline.arguments import natural, probability
from pipeline.capture.picture import MIN_SIDE
from pipeline.errors import BackendError, ConfigError, PipelineError
from pipeline.sinks.folder import claim
from training import predict
from training.data import read_grey, read_sample, split_file_names
from training.device import DEVICES, exact_float32, open_device
from training.gallery import Gallery
from training.metrics.legacy import LegacyScore, shrink, shrink_label
from training.metrics.strict import StrictScore
from training.metrics.sweep import markdown, sweep

THRESHOLDS = (0.01, 0.02, *(k / 20 for k in range(1, 20)), 0.98, 0.99, 0.995, 0.998, 0.999, 0.9998)
LEGACY_THRESHOLD = 0.5


class Scene(Struct, frozen=True, eq=False):
    """One picture prepared for an evaluation protocol; all arrays are (H, W).

    Attributes:
        name: File name without suffix.
        picture: Raw counts.
        probability: Target probability, float32.
        truth: bool, or an unbinarised label in 0..1.
    """

    name: str
    picture: Picture
    probability: NDArray[np.float32]
    truth: NDArray[Any]


Predict = Callable[[Picture], NDArray[np.float32]]


def strict_scenes(probabilities: Predict, data: Path, chosen: Sequence[str]) -> Iterator[Scene]:
    """Yield pictures at native resolution with binary truth."""
    for name in chosen:
        sample = read_sample(data, name)
        yield Scene(name, sample.picture, probabilities(sample.picture), sample.mask > 0)


def legacy_scenes(probabilities: Predict, data: Path, chosen: Sequence[str]) -> Iterator[Scene]:
    """Yield pictures at 256x256 with unbinarised labels."""
    for name in chosen:
        picture = shrink(read_sample(data, name, min_side=1).picture)
        grey = read_grey(data / "masks" / f"{name}.png")  # read again because the mask of a sample is binarised
        yield Scene(name, picture, probabilities(picture), shrink_label(grey))


# Per protocol: the pictures, the score, and how probabilities are compared with the threshold. Published code uses
# logit > 0.
PROTOCOLS: dict[str, tuple[Callable[..., Iterator[Scene]], type[StrictScore] | type[LegacyScore], np.ufunc]] = {
    "strict": (strict_scenes, StrictScore, np.greater_equal),
    "legacy": (legacy_scenes, LegacyScore, np.greater),
}


def evaluate(
    weights: str,
    data: Path,
    split: str,
    protocol: str,
    threshold: float | None,
    device: torch.device,
    gallery: Gallery | None = None,
) -> dict[str, Any]:
    """Compute all metrics at one threshold, and FROC points at many thresholds.

    Args:
        weights: Name of shipped weights, or path of a safetensors file with its manifest beside it.
        data: Folder of the data set.
        split: Text file of names, as a path or relative to ``data``.
        protocol: ``strict`` or ``legacy``.
        threshold: Probability; None takes that of the manifest, or 0.5 in the legacy protocol as published.
        device: Device that the network runs on.
        gallery: Receives every picture, if given.

    Raises:
        BackendError: The weights cannot be used.
        ConfigError: The data cannot be read.
    """
    try:
        network, manifest = nets.load(weights, device)
    except nets.WeightsError as error:
        raise BackendError(str(error)) from None
    chosen = split_file_names(data, split)
    make_scenes, make_score, above = PROTOCOLS[protocol]
    for name in chosen:  # a picture that cannot be used must not end a long evaluation
        read_sample(data, name, min_side=MIN_SIDE if protocol == "strict" else 1)
    if threshold is None:
        threshold = manifest.threshold if protocol == "strict" else LEGACY_THRESHOLD

    def maps() -> Iterator[tuple[NDArray[np.float32], NDArray[Any]]]:
        norm = manifest.input.normalisation
        for scene in make_scenes(lambda p: predict.probabilities(network, p, norm, device), data, chosen):
            if gallery:
                gallery.add(scene.name, scene.picture, scene.truth >= 0.5, above(scene.probability, threshold))
            yield scene.probability, scene.truth

    thresholds = sorted({*THRESHOLDS, threshold})
    scores = sweep(maps(), thresholds, make_score, above)
    figures = [score.summary() for score in scores]
    points = ("pd", "fa", "false_alarms_per_picture", "iou")
    return {
        "weights": {"name": manifest.name, "sha256": manifest.sha256},
        "data": str(data),
        "split": split,
        "protocol": protocol,
        "threshold": threshold,
        "metrics": figures[thresholds.index(threshold)],
        "froc": [{"threshold": t} | {key: f[key] for key in points} for t, f in zip(thresholds, figures, strict=True)],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", required=True, metavar="NAME_OR_PATH", help="shipped name, or a safetensors file")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with images/ and masks/")
    parser.add_argument("--split", required=True, metavar="FILE", help="text file of names, a path or below DIR")
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), default="strict")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all metrics and FROC points there")
    parser.add_argument("--sheets", type=Path, metavar="DIR", help="write the pictures with best and worst IoU there")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw Pd against false alarms; needs matplotlib")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="auto: cuda if available, else cpu")
    parser.add_argument("--threshold", type=probability, help="probability; default: the manifest's; legacy: 0.5")
    parser.add_argument("--threads", type=natural, default=0, help="CPU threads; 0 leaves the choice to torch")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        exact_float32()
        device, gallery = open_device(options.device, "--device"), Gallery() if options.sheets else None
        write_plot = _plotter() if options.plot else None
        for option, path in (("--json", options.json), ("--plot", options.plot)):
            if path:
                output_file.check(option, path)
        if options.sheets:
            claim(options.sheets)
        report = evaluate(
            options.weights, options.data, options.split, options.protocol, options.threshold, device, gallery
        )
        _tell(report)
        if options.json:
            _write(options.json, report)
        if gallery:
            gallery.write(options.sheets)
        if write_plot:
            write_plot(report, options.plot)
    except PipelineError as error:
        sys.stderr.write(f"training.evaluate: {error}\n")
        return error.exit_code
    return 0


def _tell(report: dict[str, Any]) -> None:
    sys.stdout.write(f"{markdown({Path(report['data']).resolve().name: report['metrics']})}\n\n")
    weights, where = report["weights"]["name"], f"{report['protocol']} protocol, threshold {report['threshold']:g}"
    sys.stdout.write(f"{weights}: {where}\n")
    for area, figure in report["metrics"].get("pd_by_area", {}).items():
        if figure["targets"]:
            sys.stdout.write(f"  targets of {area} pixels: Pd {figure['pd']:.3f} of {figure['targets']}\n")


def _plotter() -> Callable[[Mapping[str, Any], Path], None]:
    try:
        from training import froc  # noqa: PLC0415 - needs matplotlib, which is optional; fails before the evaluation
    except ImportError:
        raise ConfigError("--plot: matplotlib is missing; pip install '.[train]'") from None
    return froc.write


def _write(path: Path, report: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
