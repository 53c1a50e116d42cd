"""Score weights on a set of stills: ``python -m training.evaluate --weights NAME_OR_PATH --data DIR --split FILE``.

The data set is in BasicIRSTD layout: ``images/NAME.png``, ``masks/NAME.png`` and a text file of names.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import nets
from nets.normalisation import Picture
from pipeline.errors import BackendError, ConfigError, PipelineError
from training import predict
from training.data import names, read_grey, read_sample
from training.metrics.legacy import LegacyScore, shrink, shrink_label
from training.metrics.strict import StrictScore
from training.metrics.sweep import markdown, sweep

THRESHOLDS = (0.01, 0.02, *(k / 20 for k in range(1, 20)), 0.98, 0.99)
LEGACY_THRESHOLD = 0.5
Maps = Iterator[tuple[NDArray[np.float32], NDArray[Any]]]


def strict_maps(network: nn.Module, manifest: nets.Manifest, data: Path, chosen: Sequence[str]) -> Maps:
    """Probability and truth of each picture at native resolution."""
    for name in chosen:
        sample = read_sample(data, name)
        try:
            yield _probabilities(network, manifest, sample.picture), sample.mask > 0
        except ValueError as error:
            raise ConfigError(f"{data / 'images' / name}.png: {error}") from None


def legacy_maps(network: nn.Module, manifest: nets.Manifest, data: Path, chosen: Sequence[str]) -> Maps:
    """Probability and unbinarised label of each picture at 256x256."""
    for name in chosen:
        picture = read_grey(data / "images" / f"{name}.png")
        label = read_grey(data / "masks" / f"{name}.png")
        yield _probabilities(network, manifest, shrink(picture)), shrink_label(label)


# Per protocol: its maps, its score, and what a predicted pixel is to the threshold; published code asks for logit > 0.
PROTOCOLS: dict[str, tuple[Callable[..., Maps], type[StrictScore] | type[LegacyScore], np.ufunc]] = {
    "strict": (strict_maps, StrictScore, np.greater_equal),
    "legacy": (legacy_maps, LegacyScore, np.greater),
}


def evaluate(weights: str, data: Path, split: str, protocol: str, threshold: float | None) -> dict[str, Any]:
    """Figures at one threshold, and FROC points over many.

    Args:
        weights: shipped name, or path of a safetensors file with its manifest beside it.
        data: folder of the data set.
        split: text file of names, as a path or below ``data``.
        protocol: ``strict`` or ``legacy``.
        threshold: probability; none takes the manifest's, or 0.5 in the legacy protocol as published.

    Raises:
        BackendError: the weights cannot be used.
        ConfigError: the data cannot be read.
    """
    try:
        network, manifest = nets.load(weights)
    except nets.WeightsError as error:
        raise BackendError(str(error)) from None
    chosen = names(data, str(Path(split).resolve()) if Path(split).is_file() else split)
    make_maps, make_score, above = PROTOCOLS[protocol]
    if threshold is None:
        threshold = manifest.threshold if protocol == "strict" else LEGACY_THRESHOLD
    thresholds = sorted({*THRESHOLDS, threshold})
    scores = sweep(make_maps(network, manifest, data, chosen), thresholds, make_score, above)
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


def _probabilities(network: nn.Module, manifest: nets.Manifest, picture: Picture) -> NDArray[np.float32]:
    norm = manifest.input.normalisation
    return predict.probabilities(network, picture, norm, torch.device("cpu"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", required=True, metavar="NAME_OR_PATH", help="shipped name, or a safetensors file")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with images/ and masks/")
    parser.add_argument("--split", required=True, metavar="FILE", help="text file with one name a line, also below DIR")
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), default="strict")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, FROC points included")
    parser.add_argument("--threshold", type=float, help="probability; default: the manifest's; legacy: 0.5")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to torch")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        if options.threshold is not None and not 0 < options.threshold < 1:
            raise ConfigError(f"--threshold {options.threshold:g}: a probability between 0 and 1")
        report = evaluate(options.weights, options.data, options.split, options.protocol, options.threshold)
        if options.json:
            _write(options.json, report)
    except PipelineError as error:
        sys.stderr.write(f"training.evaluate: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{markdown({options.data.name: report['metrics']})}\n\n")
    weights, where = report["weights"]["name"], f"{report['protocol']} protocol, threshold {report['threshold']:g}"
    sys.stdout.write(f"{weights}: {where}\n")
    for area, figure in report["metrics"].get("pd_by_area", {}).items():
        if figure["targets"]:
            sys.stdout.write(f"  targets of {area} pixels: Pd {figure['pd']:.3f} of {figure['targets']}\n")
    return 0


def _write(path: Path, report: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
