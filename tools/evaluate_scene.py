"""Score the pipeline on a rendered scene with exact ground truth and many targets.

    python -m tools.evaluate_scene 'test://crossing?seed=3' [--weights NAME] [--config FILE] [--set KEY=VALUE ...]
                                   [--keep DIR] [--others]

A target matches a confirmed or coasting track within 5 px. A target that is behind a cloud or fading does not count as
missed, and a track that still follows it does not count as false. ``--others`` also scores ByteTrack and OC-SORT of the
``trackers`` library on the same detections (``pip install trackers``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline import config as configuration
from pipeline.argument_parser import add_settings
from pipeline.capture.scene import Scene, SceneSpec, TargetTruth
from pipeline.config import Config
from pipeline.errors import ConfigError, PipelineError, SourceError, one_line
from pipeline.messages import TENTATIVE, Table
from tools import mot_metrics, other_trackers, replay
from tools.gospa import gospa, mean
from tools.video_figures import GOSPA_CUTOFF_PX

OURS = "our tracker"
Scores = Mapping[str, Sequence[mot_metrics.Frame]]


def compare(truth: Sequence[TargetTruth], tracks: Table) -> mot_metrics.Frame:
    """Compare the tracks of a frame, rows of ``TRACK_DTYPE``, with its targets."""
    shown = tracks[tracks["state"] != TENTATIVE]
    visible = [t for t in truth if t.visible]
    hidden = np.array([(t.x, t.y) for t in truth if not t.visible]).reshape(-1, 2)
    seen = np.array([(t.x, t.y) for t in visible]).reshape(-1, 2)
    where = np.stack([shown["x"], shown["y"]], axis=1)
    excused = _near(where, hidden) & ~_near(where, seen)
    return mot_metrics.frame(
        [t.id for t in visible], seen, mot_metrics.MIN_REACH_PX, shown["id"][~excused], where[~excused]
    )


def evaluate(address: str, config: Config, keep: Path | None = None, others: bool = False) -> Scores:
    """Run the stages on a scene and compare every frame.

    Args:
        address: ``test://`` address of the scene.
        config: configuration of the stages.
        keep: folder that caches detections for the next run.
        others: also run the trackers of the library on the same detections.

    Returns:
        The compared frames by tracker name, ``OURS`` first.

    Raises:
        SourceError: the address is not a scene.
        ConfigError: the library is missing, the folder cannot be used, or a mask belongs to another source.
    """
    try:
        scene = Scene(SceneSpec.from_url(address))
    except ValueError as error:
        raise SourceError(str(error)) from None
    if others and not other_trackers.AVAILABLE:
        raise ConfigError("--others: pip install trackers")
    replay.check_addresses(config, [address])
    thresholds = [config.detect.threshold]
    find = replay.DetectionCache(keep).detect if keep else replay.detect
    seen = [message for (message,) in find(address, config, thresholds)]
    tracks: dict[str, Iterable[Table]] = {
        OURS: (message.track_table() for (message,) in replay.track(([one] for one in seen), config, thresholds))
    }
    if others:
        rate, start = other_trackers.frame_rate(seen), replay.start(config)
        for name, library in (("ByteTrack", other_trackers.byte_track), ("OC-SORT", other_trackers.oc_sort)):
            tracks[name] = other_trackers.tracked(library(rate, start), seen)
    return {
        name: [compare(scene.truth(message.header.frame), shown) for message, shown in zip(seen, tables, strict=True)]
        for name, tables in tracks.items()
    }


def report(frames: Sequence[mot_metrics.Frame]) -> str:
    """Format the figures of at least one frame as one line.

    Figures that need a target are nan without one. GOSPA is the mean over the frames.
    """
    hota, clear, identity = mot_metrics.hota(frames), mot_metrics.clear(frames), mot_metrics.identity(frames)
    false = clear.false_positives / max(1, len(frames))
    gospa_px = mean(gospa(f.distance, GOSPA_CUTOFF_PX) for f in frames)
    return (
        f"frames {len(frames)}  HOTA {hota.hota:.3f}  DetA {hota.det_a:.3f}  AssA {hota.ass_a:.3f}  "
        f"LocA {hota.loc_a:.3f}  MOTA {clear.mota:.3f}  IDF1 {identity.idf1:.3f}  switches {clear.switches}  "
        f"Pd {clear.pd:.3f}  false points/frame {false:.3f}  MOTP {clear.motp_px:.2f} px  "
        f"GOSPA {gospa_px.value:.2f} px (localisation {gospa_px.localisation:.2f}, missed {gospa_px.missed:.2f}, "
        f"false {gospa_px.false:.2f})"
    )


def main(argv: Sequence[str]) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(prog="tools.evaluate_scene", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("scene", help="address of the scene: test://NAME?param=value")
    parser.add_argument("--weights", help="weights: shipped name or path (default: those of the configuration)")
    parser.add_argument("--config", type=Path, help="YAML configuration of the pipeline")
    add_settings(parser)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="cache detections in this folder and reuse them")
    parser.add_argument("--others", action="store_true", help="also score ByteTrack and OC-SORT on the same detections")
    args = parser.parse_args(argv)
    settings = [*args.settings, *([f"detect.weights={args.weights}"] if args.weights else [])]
    try:
        scores = evaluate(args.scene, configuration.load(args.config, settings), args.keep, args.others)
    except PipelineError as error:
        sys.stderr.write(f"tools.evaluate_scene: error: {one_line(error)}\n")
        return error.exit_code
    for name, frames in scores.items():
        sys.stdout.write((f"{name}: " if args.others else "") + report(frames) + "\n")
    return 0


def _near(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each point (n, 2) whether one of the others (m, 2) is within ``MIN_REACH_PX``."""
    offset = points[:, None, :] - others[None, :, :]
    near: np.ndarray = (np.hypot(offset[..., 0], offset[..., 1]) <= mot_metrics.MIN_REACH_PX).any(axis=1)
    return near


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
