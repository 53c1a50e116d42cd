"""Burnt-in graphics: reticles, boxes, lines and text drawn over crops, as cameras and recorders draw them over video.

Data sets are nearly free of them. A network that has never seen a target beside a reticle takes both for clutter.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from training.config import AugmentConfig

Stencil = NDArray[np.uint8]
MOST = 3
"""Largest number of graphics in a crop."""
NEAR_PX = 30
"""Largest distance from a target along each axis, px, of the middle of a graphic that is drawn beside it."""
SIZES = (6, 40)  # half the extent of a symbol, px
FONTS = (cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX)
LETTERS = string.ascii_uppercase + string.digits + "  .:-/"
SOFTNESS_PX = (0.3, 0.8)  # sigma of half of the graphics, the others being crisp
COVERED = 0.1
"""Opacity above which a pixel shows the graphic rather than the scene."""
CHANGES = (20, 255)  # change, in steps, of graphics over a scene that moves


def burn_in(
    pictures: Tensor, masks: Tensor, changes: Tensor, tops: Tensor, config: AugmentConfig, rng: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw graphics over crops with the probability of the recipe, half of them beside a target.

    Graphics stay where they are in the picture, so they change where the camera moves: in half of the crops with known
    changes.

    Args:
        pictures: (N, side, side), float32 in 0..1.
        masks: (N, side, side), bool, targets.
        changes: (N, C, side, side), float32, change pictures; C is 0 or 1.
        tops: (N,), float32, largest count of each picture.
        config: The probability.
        rng: Source of every random choice.

    Returns:
        The pictures, rounded to counts; the change pictures; and the pixels that are covered, (N, side, side), bool.
    """
    covered = torch.zeros_like(masks)
    for k in np.flatnonzero(rng.random(len(pictures)) < config.graphics):
        opacity, level = draw(masks[k].cpu().numpy(), rng)
        moves, change = rng.random() < 0.5, rng.uniform(*CHANGES)
        alpha = torch.from_numpy(opacity).to(pictures)
        covered[k] = alpha > COVERED
        pictures[k] = torch.lerp(pictures[k], torch.full_like(alpha, level), alpha)
        pictures[k] = (pictures[k] * tops[k]).round() / tops[k]
        if moves and changes[k].any():
            changes[k] = torch.maximum(changes[k], alpha * change)
    return pictures, changes, covered


def draw(mask: NDArray[np.bool_], rng: Generator) -> tuple[NDArray[np.float32], float]:
    """Draw random graphics for a crop with this mask (side, side).

    Returns:
        Their opacity (side, side), 0 to 1, and their brightness, 0 to 1: mostly white, some gray or black.
    """
    stencil, targets = np.zeros(mask.shape, np.uint8), np.argwhere(mask)
    for _ in range(1 + int(rng.integers(MOST))):
        middle = rng.uniform(0, len(mask), 2)
        if len(targets) and rng.random() < 0.5:
            middle = targets[rng.integers(len(targets))] + rng.uniform(-NEAR_PX, NEAR_PX, 2)
        y, x = (int(v) for v in middle.round())
        symbol = SYMBOLS[int(rng.integers(len(SYMBOLS)))]
        symbol(stencil, x, y, round(_log_uniform(rng, SIZES)), 1 + int(rng.random() < 0.3), rng)
    opacity = stencil.astype(np.float32)
    if rng.random() < 0.5:
        opacity = np.asarray(cv2.GaussianBlur(opacity, (0, 0), rng.uniform(*SOFTNESS_PX)), np.float32)
    level = rng.choice([1.0, rng.uniform(0.6, 1.0), 0.0], p=[0.6, 0.25, 0.15])
    return opacity, float(level)


def _cross(stencil: Stencil, x: int, y: int, size: int, thickness: int, rng: Generator) -> None:
    gap = int(rng.integers(size)) if rng.random() < 0.5 else 0
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        cv2.line(stencil, (x + gap * dx, y + gap * dy), (x + size * dx, y + size * dy), 1, thickness)


def _box(stencil: Stencil, x: int, y: int, size: int, thickness: int, rng: Generator) -> None:
    """Draw a rectangle, or only its corners."""
    half = max(4, round(size * rng.uniform(0.5, 1)))
    cv2.rectangle(stencil, (x - size, y - half), (x + size, y + half), 1, thickness)
    if rng.random() < 0.5:
        cv2.line(stencil, (x - size // 2, y - half), (x + size // 2, y - half), 0, thickness)
        cv2.line(stencil, (x - size // 2, y + half), (x + size // 2, y + half), 0, thickness)
        cv2.line(stencil, (x - size, y - half // 2), (x - size, y + half // 2), 0, thickness)
        cv2.line(stencil, (x + size, y - half // 2), (x + size, y + half // 2), 0, thickness)


def _circle(stencil: Stencil, x: int, y: int, size: int, thickness: int, rng: Generator) -> None:
    cv2.circle(stencil, (x, y), size, 1, thickness)
    if rng.random() < 0.3:
        cv2.circle(stencil, (x, y), 1, 1, -1)


def _scale(stencil: Stencil, x: int, y: int, size: int, thickness: int, rng: Generator) -> None:
    """Draw a long horizontal or vertical line, or one with ticks."""
    angle = 0.0 if rng.random() < 0.5 else math.pi / 2
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    length = 3 * size

    def at(distance: float, aside: float) -> tuple[int, int]:
        place = (distance * a + aside * b for a, b in zip(along, across, strict=True))
        return (x + round(next(place)), y + round(next(place)))

    cv2.line(stencil, at(-length, 0), at(length, 0), 1, thickness)
    if rng.random() < 0.5:
        for distance in range(-length, length + 1, max(4, size // 2)):
            cv2.line(stencil, at(distance, 0), at(distance, 4), 1, thickness)


def _text(stencil: Stencil, x: int, y: int, size: int, thickness: int, rng: Generator) -> None:
    words = "".join(rng.choice(list(LETTERS), 2 + int(rng.integers(14))))
    font, height = FONTS[int(rng.integers(len(FONTS)))], max(0.35, size / 40) * rng.uniform(0.7, 1.3)
    (width, tall), _ = cv2.getTextSize(words, font, height, thickness)
    cv2.putText(stencil, words, (x - width // 2, y + tall // 2), font, height, 1, thickness)


def _log_uniform(rng: Generator, ends: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))


SYMBOLS: tuple[Callable[[Stencil, int, int, int, int, Generator], None], ...] = (_cross, _box, _circle, _scale, _text)
