"""Random training crops. Every draw comes from the generator passed in."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from nets.normalisation import FrameZScore, normalise
from training.config import AugmentConfig, DataConfig
from training.data import Sample

Plane = NDArray[Any]


def draw_batch(
    training: list[list[Sample]], config: DataConfig, norm: FrameZScore, rng: Generator
) -> tuple[Tensor, Tensor]:
    """A batch of normalised crops.

    Returns:
        pictures (N, C, crop, crop), float32, in the network's units, with the statistics of the whole frame as in
        live use; masks (N, 1, crop, crop), float32 in {0, 1}.
    """
    weights = np.array([source.weight for source in config.sources])
    pictures, masks, means, gains = [], [], [], []
    for index in rng.choice(len(training), size=config.batch, p=weights / weights.sum()):
        sample = training[index][rng.integers(len(training[index]))]
        picture, mask, mean, std = draw_crop(sample, config, config.sources[index].scale, rng)
        pictures.append(picture)
        masks.append(mask)
        means.append(mean)
        gains.append(norm.gain(std))
    counts = torch.from_numpy(np.stack(pictures)[:, None])
    facts = torch.tensor([means, gains], dtype=torch.float32)
    return normalise(counts, facts[0], facts[1], norm), torch.from_numpy(np.stack(masks)[:, None])


def draw_crop(
    sample: Sample, config: DataConfig, scale: tuple[float, float], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], float, float]:
    """One augmented crop.

    Returns:
        raw counts (crop, crop); mask (crop, crop) in {0, 1}; mean and standard deviation of the whole frame.
    """
    magnification = math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
    edge = max(8, round(config.crop / magnification))
    left, top = _place(sample, edge, config.on_target, rng)
    picture, mask = _cut(sample.picture, left, top, edge), _cut(sample.mask, left, top, edge)
    if edge != config.crop:
        picture, mask = _resize(picture, config.crop), _resize_mask(mask, config.crop)
    picture, mean, std = _disturb(picture, sample.histogram, config.augment, rng)
    turns, flip = int(rng.integers(4)), rng.integers(2)
    if flip:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    picture, mask = np.rot90(picture, turns), np.rot90(mask, turns)
    return np.ascontiguousarray(picture, np.float32), np.ascontiguousarray(mask, np.float32), mean, std


def _place(sample: Sample, edge: int, on_target: float, rng: Generator) -> tuple[int, int]:
    """Top-left corner of a crop inside the frame where it fits; a target lies anywhere in it, or not at all."""
    height, width = sample.picture.shape
    if len(sample.centroids) and rng.random() < on_target:
        x, y = sample.centroids[rng.integers(len(sample.centroids))]
        margin = min(4, edge // 4)
        left, top = (round(c) - int(rng.integers(margin, edge - margin)) for c in (x, y))
    else:
        left, top = (int(rng.integers(max(1, size - edge + 1))) for size in (width, height))
    return min(max(left, 0), max(0, width - edge)), min(max(top, 0), max(0, height - edge))


def _cut(plane: Plane, left: int, top: int, edge: int) -> Plane:
    """The square, filled by reflection (of picture and mask alike) where the frame is smaller."""
    part = plane[top : top + edge, left : left + edge]
    below, right = edge - part.shape[0], edge - part.shape[1]
    if below or right:
        return cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    return part


def _resize(picture: Plane, edge: int) -> Plane:
    shrinks = picture.shape[0] > edge
    return cv2.resize(picture, (edge, edge), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _resize_mask(mask: Plane, edge: int) -> Plane:
    # A target smaller than one new pixel keeps its most covered pixels: it dims, but does not cease to exist.
    cover = _resize(mask.astype(np.float32), edge)
    return (cover > 0.5 * min(1.0, float(cover.max()))).astype(np.uint8)


def _disturb(
    picture: Plane, histogram: NDArray[np.int64], config: AugmentConfig, rng: Generator
) -> tuple[Plane, float, float]:
    """Response curve, blur, noise and coder loss; also the whole frame's statistics under the same curve."""
    top = len(histogram) - 1
    curve = (np.arange(top + 1) / top) ** math.exp(rng.uniform(-config.gamma, config.gamma)) * top
    share = histogram / histogram.sum()
    mean = float(share @ curve)
    std = math.sqrt(max(float(share @ (curve - mean) ** 2), 0.0))

    picture = curve.astype(np.float32)[picture]
    if rng.random() < config.blur:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(*config.blur_sigma))
    if rng.random() < config.noise:
        noise = rng.standard_normal(picture.shape, dtype=np.float32)
        picture = picture + noise * np.float32(rng.uniform(0, config.noise_std) * std)
    picture = np.clip(np.rint(picture), 0, top)
    coded, quality = rng.random() < config.jpeg, int(rng.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1))
    if coded and top == np.iinfo(np.uint8).max:
        code = cv2.imencode(".jpg", picture.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        picture = np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE))
    return picture, mean, std
