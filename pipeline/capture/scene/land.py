"""Land background: fields in perspective, a tree line on the horizon, buildings, masts and hot spots."""

from __future__ import annotations

import math
from typing import cast

import cv2
import numpy as np

from pipeline.capture.scene.texture import Image, blur, fractal, sample, smoothstep

_MAP = 1024
_SITES = 16


def paint_land(rng: np.random.Generator, sky: Image, cover: Image, horizon: float, height: int) -> Image:
    """Paint land over the sky, and clear the cloud cover there.

    Args:
        rng: random generator.
        sky: (H, W) radiance in 14-bit counts.
        cover: (H, W) cloud opacity 0..1, modified in place.
        horizon: row of the horizon, may lie below the picture.
        height: picture height in px, which sets the scale of all objects.

    Returns:
        (H, W) float32 radiance in 14-bit counts.
    """
    rows, cols = sky.shape
    skyline = _skyline(rng, cols, horizon, height)
    y, x = np.mgrid[:rows, :cols].astype(np.float32)
    ground = _fields(rng, x, y, horizon, height)
    _objects(rng, ground, horizon, height)
    trees, crowns = _trees(rng, x, y, horizon, height)
    ground = ground + trees * (crowns - ground)
    land = smoothstep(-0.7, 0.7, y - skyline[None, :])
    land = np.maximum(land, trees)
    cover *= 1 - land
    scene = sky + land * (ground - sky)
    _masts(rng, scene, cover, horizon, height)
    return cast(Image, scene.astype(np.float32))


def _skyline(rng: np.random.Generator, cols: int, horizon: float, height: int) -> Image:
    """Return the row of the upper edge of the bare ground per column: gentle hills."""
    hills = fractal(rng, (2, cols), 2.0, longest=3.0 * height)[0]
    return cast(Image, (horizon - 0.012 * height * hills).astype(np.float32))


def _fields(rng: np.random.Generator, x: Image, y: Image, horizon: float, height: int) -> Image:
    """Render fields of different temperature with furrows, hedges and rough texture, seen obliquely."""
    # Three samples per row, averaged vertically: distant fields would alias otherwise.
    fine_y = np.repeat(y, 3, axis=0) + np.tile(np.array([-1, 0, 1], np.float32) / 3, len(y))[:, None]
    fine_x = np.repeat(x, 3, axis=0)
    near = np.maximum(fine_y - horizon + 0.03 * height, 1) / height
    depth = 1 / (near + 0.05)
    u, v = (fine_x - x.shape[1] / 2) / height * depth * 70 + 500, depth * 62 + 300
    fine = sample(_top_view(rng), u.astype(np.float32), v.astype(np.float32))
    picture = fine.reshape(-1, 3, x.shape[1]).mean(axis=1)
    near = np.maximum(y - horizon, 0) / height
    grass = fractal(rng, x.shape, 0.75, stretch=(0.8, 2.2), longest=30)
    clumps = fractal(rng, x.shape, 1.3, stretch=(0.6, 2.0), longest=90)
    rough = (22 + 95 * np.minimum(near, 1)) * grass + 55 * clumps
    haze = np.exp(-near / 0.08)
    return cast(Image, (4150 + picture * (1 - 0.6 * haze) + rough * (1 - 0.7 * haze) + 90 * haze).astype(np.float32))


def _top_view(rng: np.random.Generator) -> Image:
    """Return a map of the fields from above, in counts around zero; periodic except for its seams."""
    seeds = np.full((_MAP, _MAP), 255, np.uint8)
    grid = (np.mgrid[:_SITES, :_SITES].reshape(2, -1) + rng.uniform(0.1, 0.9, (2, _SITES**2))) * (_MAP / _SITES)
    seeds[grid[1].astype(int), grid[0].astype(int)] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    bend = fractal(rng, (_MAP, _MAP), 1.6, longest=200)
    y, x = np.mgrid[:_MAP, :_MAP].astype(np.float32)
    moved_x, moved_y = x + 5 * bend, y + 5 * np.roll(bend, 311, axis=1)
    field = cv2.remap(labels.astype(np.float32), moved_x, moved_y, cv2.INTER_NEAREST, None, cv2.BORDER_WRAP)
    number = np.rint(field).astype(int)
    level = rng.normal(0, 120, number.max() + 1)[number]
    angle = rng.uniform(0, math.pi, number.max() + 1)[number]
    ploughed = (rng.random(number.max() + 1) < 0.4)[number]
    furrows = 45 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * math.pi / 7.0)) * ploughed
    border = cv2.morphologyEx(field, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0.5
    hedge = blur(border.astype(np.float32), 1.2) * (180 + 160 * fractal(rng, (_MAP, _MAP), 0.8, longest=40))
    return blur((level + furrows + hedge).astype(np.float32), 0.8)


def _objects(rng: np.random.Generator, ground: Image, horizon: float, height: int) -> None:
    """Draw bushes, stones, huts and hot spots on the ground, in place; smaller and denser with distance."""
    rows, cols = ground.shape
    room = min(1.0, (rows - horizon) / height)
    if room <= 0.05:
        return
    layer = np.zeros_like(ground)
    for _ in range(int(90 * room * cols / height)):
        near = room * rng.random() ** 1.6
        centre = (int(rng.uniform(0, cols)), int(horizon + near * height))
        size = (1.0 + 9 * near) * rng.uniform(0.5, 1.4) * height / 256
        cv2.ellipse(
            layer, centre, (max(1, int(size * 1.3)), max(1, int(size * 0.8))), 0, 0, 360, float(rng.normal(40, 130)), -1
        )
    layer = blur(layer, 0.9) * (1 + 0.35 * fractal(rng, ground.shape, 0.7, longest=12))
    ground += layer
    for _ in range(int(18 * room * cols / height)):
        near = room * rng.random()
        x, y = rng.uniform(0, cols), horizon + near * height
        sigma = 0.5 + 1.4 * near * rng.random()
        heat = min(900.0, rng.lognormal(4.9, 0.6))
        yy, xx = np.ogrid[max(0, int(y) - 8) : int(y) + 9, max(0, int(x) - 8) : int(x) + 9]
        patch = ground[max(0, int(y) - 8) : int(y) + 9, max(0, int(x) - 8) : int(x) + 9]
        spot = heat * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma**2))
        patch += spot[: patch.shape[0], : patch.shape[1]].astype(np.float32)
    for _ in range(max(1, int(1.6 * cols / height))):
        _hut(rng, ground, int(rng.uniform(0, cols)), horizon + (0.02 + 0.12 * room * rng.random()) * height, height)


def _hut(rng: np.random.Generator, ground: Image, x: int, y: float, height: int) -> None:
    """Draw a building: a cold pitched roof that reflects the sky, two walls and warm windows."""
    scale = height / 256
    w, h = rng.uniform(12, 30) * scale, rng.uniform(5, 9) * scale
    split, ridge = w * rng.uniform(0.25, 0.75), h * 0.6
    base = y + h / 2
    wall = 4230 + float(rng.uniform(0, 160))
    corners = {
        wall: [(0, 0), (split, 0), (split, -h), (0, -h)],
        wall - 90: [(split, 0), (w, 0), (w, -h), (split, -h)],
        wall - 260: [(-0.5, -h), (w + 0.5, -h), (w - ridge, -h - ridge), (ridge, -h - ridge)],
    }
    for level, outline in corners.items():
        points = np.array([((x + dx) * 16, (base + dy) * 16) for dx, dy in outline]).astype(np.int32)
        cv2.fillPoly(ground, [points], level, cv2.LINE_8, 4)
    for dx in np.arange(2 * scale, split - 1, 4 * scale):
        ground[int(base - 0.6 * h) : int(base - 0.35 * h) + 1, int(x + dx) : int(x + dx + 1.5)] += float(
            rng.uniform(0, 170)
        )


def _trees(rng: np.random.Generator, x: Image, y: Image, horizon: float, height: int) -> tuple[Image, Image]:
    """Render the tree line with ragged crowns, gaps, and the dark shadow of the trunks below.

    Returns:
        Opacity 0..1 and radiance in 14-bit counts, each (H, W).
    """
    cols = x.shape[1]
    wood = smoothstep(-0.6, 0.3, fractal(rng, (2, cols), 1.5, longest=1.2 * height)[0])
    column, tall = np.arange(cols), np.zeros(cols, np.float32)
    for centre in rng.uniform(0, cols, cols // max(1, round(0.016 * height))):
        width = 0.018 * height * rng.lognormal(0, 0.35)
        arch = np.sqrt(np.maximum(1 - ((column - centre) / width) ** 2, 0))
        tall = np.maximum(tall, 0.058 * height * wood * rng.lognormal(0, 0.22) * (0.35 + 0.65 * arch) * (arch > 0))
    leaves = fractal(rng, x.shape, 0.7, longest=6)
    trunks = fractal(rng, x.shape, 0.8, stretch=(5.0, 1.0), longest=30)
    above = horizon + 0.01 * height - y
    inside = (tall[None, :] - above) / (0.014 * height) + 0.8 * leaves
    opacity = smoothstep(-0.2, 0.9, inside) * smoothstep(-0.012 * height, 0.0, above) * (tall > 1.5)[None, :]
    radiance = 4420 + 70 * leaves + 60 * trunks - 120 * np.exp(-np.maximum(above, 0) / (0.012 * height))
    return cast(Image, opacity.astype(np.float32)), cast(Image, radiance.astype(np.float32))


def _masts(rng: np.random.Generator, scene: Image, cover: Image, horizon: float, height: int) -> None:
    """Draw a few lamp posts against the sky, in place.

    They are thin and warm, with a lamp as small as a target.
    """
    cols = scene.shape[1]
    for _ in range(int(1.5 * cols / height)):
        x, foot = rng.uniform(0, cols), horizon + 0.02 * height
        top = horizon - rng.uniform(0.05, 0.16) * height
        mask = np.zeros(scene.shape, np.uint8)
        # cv2 draws these lines in fixed point with 1/16 px.
        ends = [(int(x * 16), int(v * 16)) for v in (top, foot)]
        cv2.line(mask, ends[0], ends[1], 110, 1, cv2.LINE_AA, 4)
        cv2.line(mask, (ends[0][0] - 24, ends[0][1]), (ends[0][0] + 24, ends[0][1]), 190, 1, cv2.LINE_AA, 4)
        share = mask.astype(np.float32) / 255
        scene += share * (np.float32(4520) - scene)
        cover *= 1 - share
