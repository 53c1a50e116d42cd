"""How far the predicted targets lie from the true ones."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

RADIUS = 3.0
"""Pixels: the distance at which the probability of detection (Pd) stops counting a target as found."""
REACH = np.arange(-int(RADIUS), int(RADIUS) + 1)
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def published_location(logits: Tensor, mask: Tensor) -> Tensor:
    """The location term of MSHNet's released code, kept to compare with; its faults are listed in docs/losses.md.

    The "centre" of a map is the mean over all pixels of coordinate times value, with coordinates in widths and
    heights, so a vector as long as the area is large. In polar form about the corner of the picture the loss is
    1 - (shorter length / longer length) + (2 / pi * angle between)^2, averaged over the pictures.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1].

    Returns:
        scalar in [0, 2].
    """
    length_p, angle_p = _polar(torch.sigmoid(logits.float()))
    length_t, angle_t = _polar(mask.float())
    lengths = torch.minimum(length_p, length_t) / (torch.maximum(length_p, length_t) + 1e-8)
    return (1 - lengths + (2 / math.pi * (angle_p - angle_t)) ** 2).mean()


def _polar(plane: Tensor) -> tuple[Tensor, Tensor]:
    height, width = plane.shape[-2:]
    x = (plane * (torch.arange(width, device=plane.device) / width)).mean(dim=(1, 2, 3))
    y = (plane * (torch.arange(height, device=plane.device) / height)[:, None]).mean(dim=(1, 2, 3))
    return torch.sqrt(x**2 + y**2 + 1e-8), torch.atan(y / (x + 1e-8))


def centroid_location(logits: Tensor, mask: Tensor) -> Tensor:
    """Distance between true and predicted centroid of every target, in pixels, folded into [0, 1].

    Every pixel within ``RADIUS`` of a true component belongs to the nearest one, in parts where several are as near.
    With d the distance from the component's centroid to the centroid of the probability that belongs to it, the loss
    of the component is 1 - a / (1 + (d / RADIUS)^2): 0 in place, 1/2 at the Pd radius, 1 when missed. The share found,
    a = min(1, 2 P_k / T_k), compares the probability P_k that belongs to the component with half its area T_k. It is
    a constant to the gradient: it keeps the pull on a centroid bounded as P_k vanishes, and leaves it to the other
    terms how much is predicted, so that this one says only where.

    Components are 8-connected and found on the CPU.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1]; above 0.5 is target.

    Returns:
        scalar in [0, 1], the mean over the components of the batch; 0 if there is none.
    """
    target = mask > 0.5
    pixel, owner, share, components = nearest_components(target)
    probability = torch.sigmoid(logits.float()).flatten()[pixel] * share
    true = target.flatten()[pixel] * share
    height, width = mask.shape[-2:]
    x, y = (pixel % width).float(), (pixel // width % height).float()

    def total(values: Tensor) -> Tensor:
        return torch.zeros(components, device=mask.device).index_add(0, owner, values)

    area = total(true).clamp(min=1)
    # Offsets from the true centroid, not positions, are averaged: no digits are lost far from the corner.
    dx, dy = x - (total(x * true) / area)[owner], y - (total(y * true) / area)[owner]
    mass = total(probability)
    found = (2 * mass.detach() / area).clamp(max=1)
    squared = (total(probability * dx) ** 2 + total(probability * dy) ** 2) / (mass + 1e-6) ** 2
    loss = 1 - found / (1 + squared / RADIUS**2)
    return loss.sum() / max(components, 1)


def nearest_components(target: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Which pixels belong to which 8-connected component: to the nearest of their picture, within ``RADIUS`` pixels.

    A pixel belongs in equal parts to all target pixels that are nearest to it, and through them to their components:
    whatever were chosen among them would be another in the mirror image.

    Args:
        target: (N, 1, H, W), bool.

    Returns:
        places in the flattened batch (K,), int64; components (K,), int64, counted through the batch; the parts (K,),
        float32, summing to 1 at every place that occurs; and how many components there are.
    """
    planes, count = target[:, 0].cpu().numpy(), 0
    labels, outline = np.zeros(planes.shape, np.int64), np.zeros(planes.shape, bool)
    for plane, label, edge in zip(planes, labels, outline, strict=True):
        found, numbers = cv2.connectedComponents(plane.astype(np.uint8), connectivity=8)
        label[...] = numbers + count - 1
        edge[...] = plane & (cv2.erode(plane.astype(np.uint8), CROSS) == 0)
        count += found - 1

    # A target's own pixels belong to it. To those around it none is nearest but one of its outline.
    _, height, width = planes.shape
    down, right = np.meshgrid(REACH, REACH, indexing="ij")
    near = down**2 + right**2 <= RADIUS**2
    down, right = down[near], right[near]
    picture, row, column = (place[:, None] for place in np.nonzero(outline))
    rows, columns = row + down, column + right
    around = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pixel = ((picture * height + rows) * width + columns)[around]
    source = np.repeat(np.flatnonzero(outline), around.sum(axis=1))
    distance = np.broadcast_to(down**2 + right**2, rows.shape)[around]
    least = np.where(planes.ravel(), 0, RADIUS**2)
    np.minimum.at(least, pixel, distance)
    nearest = (distance == least[pixel]) & (distance > 0)
    own = np.flatnonzero(planes)
    pixel, source = np.concatenate([own, pixel[nearest]]), np.concatenate([own, source[nearest]])
    share = (1 / np.bincount(pixel)[pixel]).astype(np.float32)
    pixel, owner, share = (torch.from_numpy(part).to(target.device) for part in (pixel, labels.ravel()[source], share))
    return pixel, owner, share, count
