"""Render a ``test://`` scene to files, with its exact ground truth.

    python -m tools.render_scene "test://crossing?seed=3" --out DIR [--format png16|tiff16|mp4] [--overwrite]

Files written to DIR:

- ``frames/000000.png`` (or ``.tiff``) and so on: the frames in 16 bit, exactly as the live pipeline sees them;
  or ``video.mp4``: 8 bit, stretched linearly between the two counts given as ``stretch`` in ``scene.json``.
- ``truth.csv``: ``frame,id,x,y,w,h,snr,visible``, one row per target in the picture. Frames count from 0; x, y is the
  exact sub-pixel *centroid* (the centre of the top-left pixel is (0, 0)); w, h is the extent at half maximum in px; snr
  is the peak contrast over the standard deviation of the temporal noise in this frame; visible is 0 while the target is
  hidden or fading.
- ``ego.csv``: ``frame,a,b,tx,c,d,ty``, the affine transform from pixels of the previous frame to pixels of this frame.
- ``scene.json``: all parameters of the scene.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.capture.scene import Scene, SceneSpec, TargetTruth

FORMATS = ("png16", "tiff16", "mp4")
_STRETCH_PERCENTILES = (0.1, 99.9)
_FASTEST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]

Frame = NDArray[np.uint16]


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return 0 when everything is written, else 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="tools.render_scene", description="Render a test:// scene to files.")
    parser.add_argument("url", help="address of the scene: test://NAME?param=value&...")
    parser.add_argument("--out", type=Path, required=True, help="output folder, created if missing")
    parser.add_argument(
        "--format", choices=FORMATS, default="png16", help="16-bit pictures or an 8-bit video (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier rendering in the output folder")
    args = parser.parse_args(argv)
    try:
        render(SceneSpec.from_url(args.url), args.out, args.format, overwrite=args.overwrite)
    except (ValueError, OSError) as error:
        reason = str(error)
        if isinstance(error, OSError) and error.strerror:
            reason = f"{error.filename or args.out}: {error.strerror}"
        sys.stderr.write(f"tools.render_scene: error: {' '.join(reason.split())}\n")
        return 2
    return 0


def render(spec: SceneSpec, out: Path, format_: str = "png16", *, overwrite: bool = False) -> None:
    """Write frames and ground truth of a scene into a folder.

    Args:
        spec: the scene.
        out: output folder, created if missing.
        format_: one of ``FORMATS``.
        overwrite: replace an earlier rendering; files with other names stay.

    Raises:
        OSError: the folder is not empty, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out}: not a folder")
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise FileExistsError(f"{out}: folder is not empty (--overwrite replaces an earlier rendering)")
    out.mkdir(parents=True, exist_ok=True)
    for stale in (*out.glob("frames/[0-9]*.png"), *out.glob("frames/[0-9]*.tiff"), out / "video.mp4"):
        stale.unlink(missing_ok=True)
    scene = Scene(spec)
    facts = msgspec.to_builtins(spec)
    if format_ == "mp4":
        low, high = np.percentile(scene.frame(0), _STRETCH_PERCENTILES)
        facts["stretch"] = [float(low), float(max(high, low + 1))]
        _write_video(scene, out / "video.mp4", *facts["stretch"])
    else:
        _write_images(scene, out / "frames", ".png" if format_ == "png16" else ".tiff")
    _write_table(out / "truth.csv", ("frame", *TargetTruth._fields), _truth_rows(scene))
    _write_table(
        out / "ego.csv", ("frame", "a", "b", "tx", "c", "d", "ty"), [(k, *scene.ego(k)) for k in range(len(scene))]
    )
    (out / "scene.json").write_bytes(msgspec.json.format(msgspec.json.encode(facts)) + b"\n")


def _write_images(scene: Scene, folder: Path, suffix: str) -> None:
    folder.mkdir(exist_ok=True)
    for k in tqdm(range(len(scene)), unit="frame", disable=None):
        path = folder / f"{k:06d}{suffix}"
        if not cv2.imwrite(str(path), scene.frame(k), _FASTEST_PNG if suffix == ".png" else []):
            raise OSError(f"{path}: cannot be written")


def _write_video(scene: Scene, path: Path, low: float, high: float) -> None:
    size = (scene.spec.width, scene.spec.height)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), scene.spec.fps, size, isColor=False)
    if not video.isOpened():
        raise OSError(f"{path}: cannot be written")
    try:
        for k in tqdm(range(len(scene)), unit="frame", disable=None):
            grey = (scene.frame(k) - low) * (255 / (high - low))
            video.write(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    finally:
        video.release()


def _truth_rows(scene: Scene) -> list[tuple[object, ...]]:
    return [
        (k, t.id, *(f"{v:.4f}" for v in (t.x, t.y, t.w, t.h, t.snr)), int(t.visible))
        for k in range(len(scene))
        for t in scene.truth(k)
    ]


def _write_table(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


if __name__ == "__main__":
    sys.exit(main())
