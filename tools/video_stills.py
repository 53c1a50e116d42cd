"""Cut stills with masks out of labelled videos, to train on.

    python -m tools.video_stills --data DIR --out DIR [--every N] [--frames N] [--held-out FILE]

Videos and labels as for ``tools.evaluate_video``. Writes the BasicIRSTD layout, ``images/``, ``masks/`` and
``img_idx/train.txt``, and besides ``changes/``: what has changed since the frames before, and ``ignored/``: pixels of
which nobody can tell, the rim of each target, the rest of its box, and whole boxes in which the target cannot be told
from its surroundings, neither in the frame (``tools/box_mask.py``) nor by what has changed there. Frames without a
label are left out, since what flies there may only be unlabelled. ``img_idx/validation.txt`` names the stills of the
videos listed in FILE, so that a recipe can keep them out of training: whole videos, and all videos of one place
together.
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
from tools.box_mask import changed_in_box, in_box, mask_in_box
from tools.changes import Changes
from tools.evaluate_video import find_videos, read_labels
from tools.video_figures import Video

FOLDERS = ("images", "masks", "ignored", "changes", "img_idx")
RIM = np.ones((3, 3), np.uint8)
DOUBT = 4.0
"""Margin around a box whose target is not told from its surroundings, px."""

Plane = NDArray[np.uint8]


def truth(picture: Plane, change: Plane, boxes: Sequence[tuple[float, float, float, float]]) -> tuple[Plane, Plane]:
    """Mask and ignored pixels of a frame (H, W) by its change picture, both (H, W), 0 or 255; see the module."""
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
    """Name, picture, mask, ignored pixels and changes, all (H, W) uint8, of every ``every``-th labelled frame.

    Raises:
        ConfigError: frames of more than 8 bit.
    """
    labels = read_labels(video.labels)
    source, changes = open_source(str(video.medium), CaptureConfig()), Changes()
    source.open()
    try:
        while (grab := source.grab()) is not None and (most is None or grab.frame < most):
            if grab.picture.dtype != np.uint8:
                raise ConfigError(f"{video.medium}: frames of 8 bit are expected")
            picture, change = grab.picture.astype(np.uint8), changes.see(grab.picture, grab.pts)
            if grab.frame % every == 0 and grab.frame in labels:
                name, boxes = f"{video.group}_{video.name}_{grab.frame:05d}", labels[grab.frame]
                yield (name, picture, *truth(picture, change, boxes), change)
    finally:
        source.close()


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tools.video_stills", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=count, default=20, metavar="N", help="take every N-th frame")
    parser.add_argument("--frames", type=count, help="only the first N frames of each video")
    parser.add_argument("--held-out", type=Path, metavar="FILE", help="names of videos that are for validation")
    args = parser.parse_args(argv)
    try:
        videos = find_videos(args.data)
        kept = set(args.held_out.read_text(encoding="utf-8").split()) if args.held_out else set()
        if unknown := kept - {video.name for video in videos}:
            raise ConfigError(f"{args.held_out}: not below {args.data}: {', '.join(sorted(unknown))}")
        for folder in FOLDERS:
            (args.out / folder).mkdir(parents=True, exist_ok=True)
        lists: dict[str, list[str]] = {"train.txt": [], "validation.txt": []}
        for video in tqdm(videos, unit=" videos", disable=not sys.stderr.isatty()):
            for name, *planes in stills(video, args.every, args.frames):
                for folder, plane in zip(FOLDERS[:-1], planes, strict=True):
                    cv2.imwrite(str(args.out / folder / f"{name}.png"), plane)
                lists["train.txt"].append(name)
                lists["validation.txt"] += [name] if video.name in kept else []
        for file, names in lists.items():
            (args.out / "img_idx" / file).write_text("".join(f"{name}\n" for name in names))
    except OSError as error:
        sys.stderr.write(f"tools.video_stills: error: {error.filename}: {error.strerror}\n")
        return 2
    except PipelineError as error:
        sys.stderr.write(f"tools.video_stills: error: {one_line(error)}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
