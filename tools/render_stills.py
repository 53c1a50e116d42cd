"""Render infrared stills with exact masks for training.

    python -m tools.render_stills --out DIR [--scenes 100] [--per-scene 5] [--seed 10000] [--snr 4 30] [--moving]

The output has the BasicIRSTD layout: ``images/NAME.png`` (16 bit), ``masks/NAME.png`` (0 and 255) and
``img_idx/train.txt``. ``ignored/NAME.png`` is an ignore mask of stuck pixels and their neighbours, because a stuck
pixel in a still cannot be distinguished from a bright distant point. With ``--moving``, ``changes/NAME.png`` holds what
has changed since the previous frames; each scene is then rendered for its first two seconds, with five times as many
targets as otherwise.

The kinds of scene alternate. Each scene has its own seed, counted up from ``--seed``; use none of the seeds of scenes
that results are evaluated on. A mask holds the pixels where the contrast of a target is at least half its peak.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.arguments import count, natural, positive
from pipeline.capture.scene import Scene, SceneSpec
from pipeline.capture.scene.spec import NAMES
from tools import png
from tools.changes import Changes

Plane = NDArray[np.uint8] | NDArray[np.uint16]
Still = tuple[str, *tuple[Plane, ...]]
CAMERAS = ("still", "pan", "handheld", "pan+handheld")
FRAMES = range(20, 281)
"""Frames of a scene that stills are taken from."""
MOVING_FRAMES = range(8, 56)
"""The same with ``--moving``, where all frames before them are rendered too."""
MOVING_TARGETS_FACTOR = 5
"""Factor on the number of targets with ``--moving``: targets last less than a scene, so few would appear otherwise."""


def draw_spec(index: int, seed: int, snr: tuple[float, float]) -> SceneSpec:
    """Draw the ``index``-th scene: the kinds alternate, everything else is random with its own seed."""
    rng = np.random.default_rng([seed, index])
    point = rng.random() < 0.6
    return SceneSpec(
        name=NAMES[index % len(NAMES)],
        frames=FRAMES.stop + 19,
        seed=seed + index,
        targets=int(rng.integers(2, 9)),
        snr=float(np.exp(rng.uniform(*np.log(snr)))),
        size=0.0 if point else float(rng.uniform(2, 14)),
        camera=str(rng.choice(CAMERAS)),
        noise=float(rng.uniform(4, 40)),
        fpn=float(rng.uniform(0, 8)),
        dead=float(rng.choice([0.0, 1e-4])),
    )


def masks(scene: Scene, k: int) -> NDArray[np.uint8]:
    """Compute the mask (H, W) of frame k: 255 where the contrast of a visible target is at least half its peak."""
    contrast = np.abs(scene.radiance(k) - scene.radiance(k, targets=False))
    mask = np.zeros(contrast.shape, np.uint8)
    for truth in scene.truth(k):
        if not truth.visible:
            continue
        reach_x, reach_y = int(np.ceil(truth.w)) + 1, int(np.ceil(truth.h)) + 1
        x, y = round(truth.x), round(truth.y)
        rows, columns = slice(max(0, y - reach_y), y + reach_y + 1), slice(max(0, x - reach_x), x + reach_x + 1)
        patch = contrast[rows, columns]
        mask[rows, columns] |= np.where(patch >= 0.5 * patch.max(), 255, 0).astype(np.uint8)
    return mask


def truth(scene: Scene, k: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return ``masks`` of frame k and its ignore mask, both (H, W) with 0 and 255.

    The ignore mask covers stuck pixels and their neighbours, except target pixels.
    """
    mask = masks(scene, k)
    near = cv2.dilate(scene.stuck().astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return mask, np.where(near & (mask == 0), 255, 0).astype(np.uint8)


def render(scenes: int, per_scene: int, seed: int, snr: tuple[float, float]) -> Iterator[Still]:
    """Yield name, picture (H, W) uint16, mask and ignore mask (H, W) uint8 of every still."""
    for index in range(scenes):
        scene = Scene(draw_spec(index, seed, snr))
        for k in _spread(FRAMES, per_scene):
            yield f"{scene.spec.name}_{scene.spec.seed}_{k:03d}", scene.frame(k), *truth(scene, k)


def render_moving(scenes: int, per_scene: int, seed: int, snr: tuple[float, float]) -> Iterator[Still]:
    """Yield what ``render`` yields, and the change picture (H, W) uint8 of every still."""
    for index in range(scenes):
        spec = draw_spec(index, seed, snr)
        spec = msgspec.structs.replace(spec, frames=MOVING_FRAMES.stop, targets=MOVING_TARGETS_FACTOR * spec.targets)
        scene, changes = Scene(spec), Changes()
        kept = set(_spread(MOVING_FRAMES, per_scene))
        for k in range(MOVING_FRAMES.stop):
            picture = scene.frame(k)
            change = changes.see(picture, k / spec.fps)
            if k in kept:
                yield f"{spec.name}_{spec.seed}_{k:03d}", picture, *truth(scene, k), change


def main(argv: Sequence[str]) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(prog="tools.render_stills", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="output folder, created if missing")
    parser.add_argument("--scenes", type=count, default=100, help="number of scenes (default: %(default)s)")
    parser.add_argument("--per-scene", type=count, default=5, help="stills per scene (default: %(default)s)")
    parser.add_argument("--seed", type=natural, default=10_000, help="seed of the first scene (default: %(default)s)")
    parser.add_argument(
        "--snr",
        type=positive,
        nargs=2,
        default=(4.0, 30.0),
        metavar=("LOW", "HIGH"),
        help="range of the targets' signal-to-noise ratio (default: 4 to 30)",
    )
    parser.add_argument("--moving", action="store_true", help="also write the changes since the previous frames")
    args = parser.parse_args(argv)
    if args.snr[0] > args.snr[1]:
        parser.error(f"argument --snr: {args.snr[0]:g} is above {args.snr[1]:g}")
    if args.per_scene > len(frames := MOVING_FRAMES if args.moving else FRAMES):
        parser.error(f"argument --per-scene: a scene has only {len(frames)} frames for stills")
    folders = ("images", "masks", "ignored", "changes") if args.moving else ("images", "masks", "ignored")
    rendered = (render_moving if args.moving else render)(args.scenes, args.per_scene, args.seed, tuple(args.snr))
    try:
        for folder in (*folders, "img_idx"):
            (args.out / folder).mkdir(parents=True, exist_ok=True)
        names = []
        for name, *planes in rendered:
            for folder, plane in zip(folders, planes, strict=True):
                png.write(args.out / folder / f"{name}.png", plane)
            names.append(name)
        (args.out / "img_idx" / "train.txt").write_text("\n".join(names) + "\n")
    except OSError as error:
        sys.stderr.write(f"tools.render_stills: error: {error.filename or args.out}: {error.strerror}\n")
        return 2
    return 0


def _spread(frames: range, count: int) -> list[int]:
    """Return the first and the last frame and others evenly between them; one alone is the first."""
    return [int(k) for k in np.linspace(frames[0], frames[-1], count)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
