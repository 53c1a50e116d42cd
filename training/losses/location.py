"""How far the predicted targets lie from the true ones."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

RADIUS = 3.0
"""Pixels: the distance at which the probability of detection (Pd) stops counting a target as found."""


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

    Every pixel within ``RADIUS`` of a true component belongs to the nearest one. With d the distance from the
    component's centroid to the centroid of the probability that belongs to it, the loss of the component is
    1 - a / (1 + (d / RADIUS)^2): 0 in place, 1/2 at the Pd radius, 1 when missed. The share found,
    a = min(1, 2 P_k / T_k), compares the probability P_k that belongs to the component with half its area T_k. It is
    a constant to the gradient: it keeps the pull on a centroid bounded as P_k vanishes, and leaves it to the other
    terms how much is predicted, so that this one says only where.

    Components are 8-connected and found on the CPU. A pixel as near to two of them goes to either.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1]; above 0.5 is target.

    Returns:
        scalar in [0, 1], the mean over the components of the batch; 0 if there is none.
    """
    probability = torch.sigmoid(logits.float()).flatten()
    target = mask > 0.5
    owner, components = nearest_components(target)
    true = target.flatten().float()
    rows = torch.arange(mask.shape[-2], device=mask.device, dtype=torch.float32)
    columns = torch.arange(mask.shape[-1], device=mask.device, dtype=torch.float32)
    x, y = columns.expand(mask.shape).flatten(), rows[:, None].expand(mask.shape).flatten()

    def total(values: Tensor) -> Tensor:
        sums = torch.zeros(components + 1, device=mask.device)
        return sums.index_add(0, owner, values)  # the last one takes the pixels of no component

    area = total(true).clamp(min=1)
    # Offsets from the true centroid, not positions, are averaged: no digits are lost far from the corner.
    dx, dy = x - (total(x * true) / area)[owner], y - (total(y * true) / area)[owner]
    mass = total(probability)
    found = (2 * mass.detach() / area).clamp(max=1)
    squared = (total(probability * dx) ** 2 + total(probability * dy) ** 2) / (mass + 1e-6) ** 2
    loss = 1 - found / (1 + squared / RADIUS**2)
    return loss[:components].sum() / max(components, 1)


def nearest_components(target: Tensor) -> tuple[Tensor, int]:
    """For every pixel the number of the nearest 8-connected component of its picture, within ``RADIUS`` pixels.

    Args:
        target: (N, 1, H, W), bool.

    Returns:
        numbers (N * H * W,), int64, counted through the batch, and how many components there are; pixels of no
        component bear that count.
    """
    owners, count = [], 0
    for plane in target[:, 0].cpu().numpy():
        distance, label = cv2.distanceTransformWithLabels(
            (~plane).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_CCOMP
        )
        within = distance <= RADIUS  # all is far away where there is no component
        owners.append(np.where(within, label.astype(np.int64) - 1 + count, -1))
        count += int(label[plane].max(initial=0))
    owner = torch.from_numpy(np.stack(owners).ravel()).to(target.device)
    return torch.where(owner < 0, count, owner), count
