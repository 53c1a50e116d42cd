"""Turn a run into deployed weights: ``python -m training.publish --run RUN --config RECIPE --name NAME``.

The run's weights are scored on the held-out validation parts of its recipe, under the strict protocol, at a grid
of thresholds. The criterion is the F1 score counted in targets, averaged over the sets that contain targets. So a
missed target and a false alarm weigh the same, every set counts the same whatever its size, and the shape of masks,
on which annotators disagree, does not matter. The curve is flat around its maximum, and a few hundred targets do not
resolve its last half percent. Therefore the manifest gets the highest threshold within 0.005 of the best mean F1,
which causes the fewest false alarms on pictures without targets; sets of such pictures have no F1.

Deployed weights may have been trained on all pictures. Then a twin run, with the same recipe but with pictures held
out, is scored instead: ``--run ALL --twin HELD_OUT``.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

import nets
from nets.manifest import FOLDER, SUFFIX, Input, Manifest, Training, Validation
from pipeline.arguments import count, natural, probability
from pipeline.errors import ConfigError, PipelineError
from pipeline.sinks.folder import claim
from training import checkpoint, lineage, predict
from training.config import TrainConfig
from training.data import read_source, split_sources, spread
from training.device import DEVICES, exact_float32, open_device
from training.metrics.strict import StrictScore
from training.metrics.sweep import COLUMNS, markdown, sweep
from training.provenance import changes, commit, describe_split, read_twin, steps
from training.run_weights import FILES, blend, load
from training.trainer import STATE

THRESHOLDS = tuple(k / 100 for k in range(20, 91, 5))
F1_TOLERANCE = 0.005  # a difference in mean F1 that a few hundred targets do not resolve
HALF = 0.5  # default of --share


def validate(
    network: nn.Module, recipe: TrainConfig, thresholds: Sequence[float], most: int | None, device: torch.device
) -> dict[str, list[StrictScore]]:
    """Score every validation set at every threshold, on at most ``most`` pictures per set."""
    root = Path(recipe.data.root)
    scores = {}
    for name, pictures in split_sources(root, recipe.data.sources).validation.items():
        samples = (read_source(root, *picture) for picture in spread(pictures, most))
        maps = (
            (
                predict.probabilities(network, s.picture, recipe.normalisation, device, s.change) * (s.ignored == 0),
                s.mask > 0,
            )
            for s in samples
        )
        scores[name] = sweep(maps, thresholds, StrictScore)
    if not any(score[0].targets.sum() for score in scores.values()):
        raise ConfigError(f"{root}: no validation set of the recipe holds a target, so no threshold can be chosen")
    return scores


def mean_f1(scores: Mapping[str, Sequence[StrictScore]]) -> list[float]:
    """F1 counted in targets at every threshold, averaged over the sets that contain targets."""
    kept = [score for score in scores.values() if score[0].targets.sum()]
    return [math.fsum(one.f1 or 0.0 for one in column) / len(kept) for column in zip(*kept, strict=True)]


def choose_threshold(values: Sequence[float]) -> int:
    """Return the index of the last value within ``F1_TOLERANCE`` of the best."""
    return max(k for k, value in enumerate(values) if value >= max(values) - F1_TOLERANCE)


def publish(
    run: Path,
    name: str,
    weights: str,
    out: Path,
    file: Path,
    most: int | None,
    device: torch.device,
    track_threshold: float | None = None,
    threshold: float | None = None,
    blended: str | None = None,
    share: float = HALF,
    scales: Literal[1, 2] = 1,
    twin: Path | None = None,
) -> tuple[Manifest, str]:
    """Score a run, choose its threshold and write weights and manifest.

    Args:
        run: Folder of the run.
        name: Name of the deployed weights.
        weights: ``ema`` (averaged weights of the last checkpoint) or ``best`` (those of the best validation).
        out: Existing folder to write to.
        file: The recipe in ``configs/train`` that the run was started with.
        most: Maximum number of pictures per validation set, evenly spaced in its list; None takes all.
        device: Device that the network is scored on.
        track_threshold: Track threshold for the manifest, to be determined on held-out videos.
        threshold: Threshold for the manifest, one of ``THRESHOLDS``; None chooses it by the F1 in targets. A comparison
            by IoU may need another threshold.
        blended: Weights to ``blend`` the run's with, if any.
        share: Share of the blended weights in the mean.
        scales: Number of scales that pictures are seen at, see ``nets.two_scales``.
        twin: Folder of a run of the same recipe that held pictures out. It is blended in the same way and scored
            instead of the run, because it has not seen these pictures.

    Returns:
        The manifest, and a Markdown text with the scores at its threshold and the mean F1 at all thresholds.

    Raises:
        ConfigError: Run, recipe or data cannot be used, or weights and manifest cannot be written.
    """
    recipe = checkpoint.read_config(run / STATE)
    changed, progress, step = changes(recipe, file), checkpoint.read_progress(run / STATE), steps(run, weights)
    root, sources = Path(recipe.data.root), recipe.data.sources
    network = load(run, recipe, weights, device)
    other = blend(network, recipe, blended, share) if blended else None
    judged, held, judged_progress = network, recipe, progress
    if twin is not None:
        held, judged_progress = read_twin(twin / STATE, recipe), checkpoint.read_progress(twin / STATE)
        judged = load(twin, held, weights, device)
        if blended:
            blend(judged, held, blended, share)
    counts = split_sources(root, sources).counts
    others = lineage.of_weights(other) if other else {}
    known = lineage.merge(judged_progress.held_out, others)
    doubt = lineage.describe(split_sources(Path(held.data.root), held.data.sources), known)
    seen = Input(channels=recipe.normalisation.channels, normalisation=recipe.normalisation, scales=scales)
    scores = validate(nets.deployed(judged, seen), held, THRESHOLDS, most, device)
    f1 = mean_f1(scores)
    chosen = choose_threshold(f1) if threshold is None else THRESHOLDS.index(threshold)
    figures = {folder: score[chosen].summary() for folder, score in scores.items()}
    notes = [
        {"ema": "averaged weights of the last checkpoint", "best": "averaged weights of the best validation"}[weights],
        f"a run of {progress.seconds / 60:.0f} minutes",
        f"threshold: the highest within {F1_TOLERANCE} of the best mean F1 in targets over the sets that hold targets"
        if threshold is None
        else "threshold: asked for",
    ]
    if progress.pretrained:
        notes.append(f"started from weights of sha256 {progress.pretrained}")
    if other:
        notes.append(f"{1 - share:g} of these and {share:g} of the weights of sha256 {other.sha256}")
    if changed:
        notes.append("changed in the recipe: " + ", ".join(changed))
    whose = ""
    if twin:
        origin = judged_progress.pretrained
        start = f", started from {f'sha256 {origin}' if origin else 'random weights'}"
        start = start if origin != progress.pretrained else ""
        whose = f" of a twin run ({steps(twin, weights)} steps{start}), the same but that these have seen it"
    capped = f", at most {most} pictures a set" if most else ""
    manifest = Manifest(
        name=name,
        architecture=recipe.network.name,
        options=recipe.network.options,
        sha256="0" * 64,
        input=seen,
        threshold=THRESHOLDS[chosen],
        track_threshold=track_threshold,
        training=Training(
            data=counts,
            split=describe_split(root, sources) + ("" if twin else doubt),
            recipe=file.name,
            seed=recipe.run.seed,
            commit=commit(),
            steps=step,
            held_out=lineage.merge(progress.held_out, others),
            note="; ".join(notes),
        ),
        validation=Validation(
            protocol=f"strict, probability >= {THRESHOLDS[chosen]:g}, float16 weights in float32, native resolution",
            split=f"held-out part of each training set{whose}{capped}; the threshold was chosen on it{doubt}",
            metrics={folder: {key: figure[key] for key in COLUMNS} for folder, figure in figures.items()},
        ),
    )
    curve = ", ".join(f"{threshold:g}: {value:.3f}" for threshold, value in zip(THRESHOLDS, f1, strict=True))
    text = f"{markdown(figures)}\n\nMean F1 by threshold: {curve}"
    try:
        return nets.save(out / f"{name}{SUFFIX}", network, manifest), text
    except nets.WeightsError as error:
        raise ConfigError(str(error)) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.publish", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--name", required=True, help="name of the deployed weights")
    parser.add_argument("--weights", choices=tuple(FILES), default="ema", help="averaged weights: last, or best")
    parser.add_argument("--blend", metavar="WEIGHTS", help="publish a mean of the run's weights and these")
    parser.add_argument("--share", type=probability, help="share of the --blend weights; default: 0.5")
    parser.add_argument(
        "--scales", type=int, choices=(1, 2), default=1, help="2: also see pictures at half size; default: %(default)s"
    )
    parser.add_argument("--config", type=Path, required=True, help="the recipe that the run was started with")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to; created if missing")
    parser.add_argument("--twin", type=Path, help="run of the same recipe with pictures held out, scored instead")
    parser.add_argument("--pictures", type=count, help="most validation pictures per set, evenly spaced; default: all")
    parser.add_argument(
        "--threshold", type=float, choices=THRESHOLDS, help="probability; default: chosen by the F1 in targets"
    )
    parser.add_argument(
        "--track-threshold", type=probability, help="peak probability needed to start a track; default: the threshold"
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="auto: cuda if available, else cpu")
    parser.add_argument("--threads", type=natural, default=0, help="CPU threads; 0 leaves the choice to torch")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.share is not None and options.blend is None:
        parser.error("argument --share: needs --blend")
    try:
        if Path(options.name).name != options.name:
            raise ConfigError(f"--name {options.name}: must be a plain name, without folders")
        claim(options.out)
        exact_float32()
        device = open_device(options.device, "--device")
        manifest, table = publish(
            options.run,
            options.name,
            options.weights,
            options.out,
            options.config,
            options.pictures,
            device,
            options.track_threshold,
            options.threshold,
            options.blend,
            options.share or HALF,
            options.scales,
            options.twin,
        )
    except PipelineError as error:
        sys.stderr.write(f"training.publish: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{table}\n\n{manifest.name}: threshold {manifest.threshold:g}, sha256 {manifest.sha256}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
