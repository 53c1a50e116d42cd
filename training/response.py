"""Detection rate of plain spots by size and contrast: ``python -m training.response --weights NAME_OR_PATH``.

Held-out pictures measure how well targets like the recorded ones are found. This measures the rest: simulated spots of
many sizes and contrasts, on uniform noise or, with ``--data``, in real pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from numpy.random import Generator
from numpy.typing import NDArray

import nets
from nets.normalisation import Picture
from pipeline import output_file
from pipeline.arguments import natural, probability
from pipeline.errors import BackendError, ConfigError, PipelineError
from training import predict
from training.data import read_sample, split_file_names
from training.device import DEVICES, exact_float32, open_device
from training.simulate import EDGE, spots

SIGMAS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
CONTRASTS = (4.0, 5.0, 7.0, 10.0, 20.0, 50.0)
SPACING = 64
"""Distance between spots in a picture, px, so that each is isolated in the network's neighbourhood like a target."""
NOISE_PICTURES = 48
"""Number of noise pictures."""
_LEVEL, _NOISE, _SIDE = 9000.0, 20.0, 256


class Response(Struct, frozen=True, eq=False):
    """Number of spots, and of detected spots, by sigma (rows) and contrast (columns), int64."""

    spots: NDArray[np.int64]
    seen: NDArray[np.int64]


def noise(rng: Generator, pictures: int = NOISE_PICTURES) -> Iterator[Picture]:
    """Yield 16-bit pictures of white noise."""
    for _ in range(pictures):
        yield np.rint(rng.normal(_LEVEL, _NOISE, (_SIDE, _SIDE))).astype(np.uint16)


def response(
    probabilities: Callable[[Picture], NDArray[np.float32]],
    threshold: float,
    pictures: Iterator[Picture],
    rng: Generator,
) -> Response:
    """Add Gaussian spots on a grid, cycling through all kinds, and count those with a pixel at or above the threshold.

    Args:
        probabilities: Function that returns the probability map of a picture, with its shape.
        threshold: Probability of a detection.
        pictures: (H, W) raw counts; pictures with a side below 44 px get no spot.
        rng: Source of the order of kinds, and of the sub-pixel position of each spot.

    Returns:
        Counts by ``SIGMAS`` and ``CONTRASTS``. The contrast is the largest pixel of the spot divided by the standard
        deviation (at least one count) of the surrounding square of ``EDGE`` px.
    """
    kinds = list(product(range(len(SIGMAS)), range(len(CONTRASTS))))
    found = Response(*(np.zeros((len(SIGMAS), len(CONTRASTS)), np.int64) for _ in range(2)))
    queue: list[tuple[int, int]] = []
    for picture in pictures:
        lit, placed = picture.astype(np.float32), []
        for top, left in product(*(range((SPACING - EDGE) // 2, side - EDGE + 1, SPACING) for side in picture.shape)):
            queue = queue or [kinds[k] for k in rng.permutation(len(kinds))]
            row, column = queue.pop()
            centre = torch.from_numpy(rng.uniform(-0.5, 0.5, (2, 1)))
            spot = spots(centre, torch.full((2, 1), SIGMAS[row]), torch.ones(1))
            window = np.s_[top : top + EDGE, left : left + EDGE]
            spread = max(float(picture[window].std()), 1.0)
            lit[window] += CONTRASTS[column] * spread * spot.contrast[0, :EDGE, :EDGE].numpy()
            placed.append((row, column, window, spot.masks[0, :EDGE, :EDGE].numpy()))
        seen = probabilities(np.rint(np.clip(lit, 0, np.iinfo(picture.dtype).max)).astype(picture.dtype)) >= threshold
        for row, column, window, mask in placed:
            found.spots[row, column] += 1
            found.seen[row, column] += bool((seen[window] & mask).any())
    return found


def markdown(found: Response) -> str:
    """Format the fraction of detected spots as a Markdown table."""
    head = ["sigma px", *(f"contrast {contrast:g}" for contrast in CONTRASTS)]
    lines = [head, ["---:"] * len(head)]
    for sigma, total, seen in zip(SIGMAS, found.spots, found.seen, strict=True):
        lines.append([f"{sigma:g}", *(f"{s / n:.2f}" if n else "-" for s, n in zip(seen, total, strict=True))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.response", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--weights", required=True, metavar="NAME_OR_PATH", help="shipped name, or a safetensors file")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with images/; default: uniform noise")
    parser.add_argument("--split", metavar="FILE", help="text file of names, a path or below DIR")
    parser.add_argument("--threshold", type=probability, help="probability; default: the manifest's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="auto: cuda if available, else cpu")
    parser.add_argument("--seed", type=natural, default=0)
    options = parser.parse_args(arguments)
    try:
        if (options.data is None) != (options.split is None):
            raise ConfigError("--data and --split must be given together")
        if options.json:
            output_file.check("--json", options.json)
        exact_float32()
        device = open_device(options.device, "--device")
        try:
            network, manifest = nets.load(options.weights, device)
        except nets.WeightsError as error:
            raise BackendError(str(error)) from None
        rng = np.random.default_rng(options.seed)
        threshold = manifest.threshold if options.threshold is None else options.threshold
        found = response(
            lambda picture: predict.probabilities(network, picture, manifest.input.normalisation, device),
            threshold,
            noise(rng) if options.data is None else _pictures(options.data, options.split),
            rng,
        )
        sys.stdout.write(f"{markdown(found)}\n\n{manifest.name}: {found.spots.sum()} spots, threshold {threshold:g}\n")
        if options.json:
            _write(options.json, found)
    except PipelineError as error:
        sys.stderr.write(f"training.response: {error}\n")
        return error.exit_code
    return 0


def _pictures(data: Path, split: str) -> Iterator[Picture]:
    for name in split_file_names(data, split):
        yield read_sample(data, name, masks=None).picture


def _write(path: Path, found: Response) -> None:
    report: dict[str, Any] = {"sigmas": SIGMAS, "contrasts": CONTRASTS}
    try:
        path.write_text(json.dumps(report | {"spots": found.spots.tolist(), "seen": found.seen.tolist()}) + "\n")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
