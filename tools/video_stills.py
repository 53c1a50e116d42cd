"""Extract training pictures with masks from videos labelled with boxes.

    python -m tools.video_stills --data DIR --out DIR [--every N] [--frames N] [--held-out FILE]

Videos and labels are those of ``tools.evaluate_video``. The output has the BasicIRSTD layout (``images/``, ``masks/``
and ``img_idx/train.txt``) and two more folders. ``changes/`` holds what has changed since the previous frames.
``ignored/`` holds ignore masks of uncertain pixels: the rim of each target, the rest of its box, and whole boxes where
the target cannot be separated from its surroundings, neither in the frame (``tools/box_mask.py``) nor by its changes.
Frames without a label are left out, because they may contain unlabelled targets. ``img_idx/validation.txt`` lists the
stills of the videos named in FILE, so that a recipe can exclude them from training. Hold out whole videos, and all
videos of one place together.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.arguments import count
from pipeline.capture.config import CaptureConfig
from pipeline.capture.factory import open_source
from pipeline.errors import ConfigError, PipelineError, one_line
from tools import png
from tools.box_mask import changed_in_box, in_box, mask_in_box
from tools.changes import Changes
from tools.video_figures import Video
from tools.video_labels import find_videos, read_labels

FOLDERS = ("images", "masks", "ignored", "changes", "img_idx")
RIM = np.ones((3, 3), np.uint8)
DOUBT = 4.0
"""Ignored margin around a box whose target cannot be separated from its surroundings, px."""

Plane = NDArray[np.uint8]


def truth(picture: Plane, change: Plane, boxes: Sequence[tuple[float, float, float, float]]) -> tuple[Plane, Plane]:
    """Compute the target mask and the ignore mask of a frame, both (H, W), 0 or 255; see the module.

    Args:
        picture: (H, W).
        change: change picture of the frame, (H, W).
        boxes: (centre x, centre y, w, h) in px; the size of a point is nan.
    """
    mask, ignored = np.zeros(picture.shape, bool), np.zeros(picture.shape, bool)
    for box in boxes:
        target = mask_in_box(picture, box)
        if target is None:
            target = changed_in_box(change, box)
        if target is None:
            ignored |= in_box(picture.shape, box, DOUBT)
        else:
            mask |= target
            ignored |= cv2.dilate(target.astype(np.uint8), RIM).astype(bool)
            if not np.isnan(box[2]):
                ignored |= in_box(picture.shape, box, 0)
    return np.where(mask, 255, 0).astype(np.uint8), np.where(ignored & ~mask, 255, 0).astype(np.uint8)


def stills(video: Video, every: int, most: int | None) -> Iterator[tuple[str, Plane, Plane, Plane, Plane]]:
    """Yield name, picture, mask, ignore mask and change picture of every ``every``-th frame that has a label.

    All pictures are (H, W) uint8.

    Raises:
        ConfigError: the frames have more than 8 bit.
    """
    labels = read_labels(video.labels)
    source, changes = open_source(str(video.medium), CaptureConfig()), Changes()
    source.open()
    try:
        while (grab := source.grab()) is not None and (most is None or grab.frame < most):
            if grab.picture.dtype != np.uint8:
                raise ConfigError(f"{video.medium}: expected frames of 8 bit")
            picture, change = grab.picture.astype(np.uint8), changes.see(grab.picture, grab.pts)
            if grab.frame % every == 0 and grab.frame in labels:
                name, boxes = f"{video.group}_{video.name}_{grab.frame:05d}", labels[grab.frame]
                yield (name, picture, *truth(picture, change, boxes), change)
    finally:
        source.close()


def main(argv: Sequence[str]) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(prog="tools.video_stills", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the labelled videos, searched recursively"
    )
    parser.add_argument("--out", type=Path, required=True, help="output folder, created if missing")
    parser.add_argument(
        "--every", type=count, default=20, metavar="N", help="take every N-th frame (default: %(default)s)"
    )
    parser.add_argument("--frames", type=count, help="process only the first N frames of each video")
    parser.add_argument(
        "--held-out", type=Path, metavar="FILE", help="text file with the names of the validation videos"
    )
    args = parser.parse_args(argv)
    try:
        videos = find_videos(args.data)
        kept = _names(args.held_out) if args.held_out else set()
        if unknown := kept - {video.name for video in videos}:
            raise ConfigError(f"{args.held_out}: not below {args.data}: {', '.join(sorted(unknown))}")
        for folder in FOLDERS:
            (args.out / folder).mkdir(parents=True, exist_ok=True)
        lists: dict[str, list[str]] = {"train.txt": [], "validation.txt": []}
        for video in tqdm(videos, unit=" videos", disable=not sys.stderr.isatty()):
            for name, *planes in stills(video, args.every, args.frames):
                for folder, plane in zip(FOLDERS[:-1], planes, strict=True):
                    png.write(args.out / folder / f"{name}.png", plane)
                lists["train.txt"].append(name)
                lists["validation.txt"] += [name] if video.name in kept else []
        for file, names in lists.items():
            (args.out / "img_idx" / file).write_text("".join(f"{name}\n" for name in names))
    except OSError as error:
        sys.stderr.write(f"tools.video_stills: error: {error.filename or args.out}: {error.strerror}\n")
        return 2
    except PipelineError as error:
        sys.stderr.write(f"tools.video_stills: error: {one_line(error)}\n")
        return error.exit_code
    return 0


def _names(path: Path) -> set[str]:
    try:
        return set(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file of names") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
