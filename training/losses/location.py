"""Location losses: distance between predicted and true targets."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

RADIUS = 3.0
"""Distance in pixels from which the probability of detection (Pd) no longer counts a target as found."""
WINDOW_OFFSETS = np.arange(-int(RADIUS), int(RADIUS) + 1)
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def published_location(logits: Tensor, mask: Tensor) -> Tensor:
    """Location term of MSHNet's released code, kept for comparison; docs/losses.md lists its faults.

    The "centre" of a map is the mean over all pixels of coordinate times value, with coordinates in units of width and
    height, so the length of this vector is proportional to the area. In polar form about the picture corner the loss is
    1 - (shorter length / longer length) + (2 / pi * angle between)^2, averaged over the pictures.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1].

    Returns:
        Scalar in [0, 2].
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
    """Distance between the true and predicted centroids of every target, mapped to [0, 1].

    Every pixel within ``RADIUS`` of a true component is assigned to the nearest one, or shared among several that are
    equally near. With d the distance in pixels from the component's centroid to the centroid of its assigned
    probability, the loss of the component is 1 - a / (1 + (d / RADIUS)^2): 0 in place, 1/2 at the Pd radius, 1 when
    missed. The found fraction a = min(1, 2 P_k / T_k) compares the assigned probability P_k with half the component's
    area T_k. It is a constant in the gradient. This keeps the gradient on a centroid bounded as P_k vanishes, and the
    term then affects only the position of the prediction; the other terms control its amount.

    Components are 8-connected and found on the CPU.

    Args:
        logits: (N, 1, H, W).
        mask: (N, 1, H, W) in [0, 1]; values above 0.5 are target.

    Returns:
        Scalar in [0, 1], the mean over the components of the batch; 0 if there are none.
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
    # Averages offsets from the true centroid instead of positions, to keep precision far from the corner.
    dx, dy = x - (total(x * true) / area)[owner], y - (total(y * true) / area)[owner]
    mass = total(probability)
    found = (2 * mass.detach() / area).clamp(max=1)
    squared = (total(probability * dx) ** 2 + total(probability * dy) ** 2) / (mass + 1e-6) ** 2
    loss = 1 - found / (1 + squared / RADIUS**2)
    return loss.sum() / max(components, 1)


def nearest_components(target: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Assign pixels to the nearest 8-connected component of their picture, within ``RADIUS`` pixels.

    A pixel is shared equally among all target pixels nearest to it, and so among their components. Choosing one of them
    would give a different result for the mirrored picture.

    Args:
        target: (N, 1, H, W), bool.

    Returns:
        Indices into the flattened batch (K,), int64; component indices (K,), int64, counted through the batch; shares
        (K,), float32, which sum to 1 for every pixel that occurs; and the number of components.
    """
    planes, count = target[:, 0].cpu().numpy(), 0
    labels, outline = np.zeros(planes.shape, np.int64), np.zeros(planes.shape, bool)
    for plane, label, edge in zip(planes, labels, outline, strict=True):
        found, numbers = cv2.connectedComponents(plane.astype(np.uint8), connectivity=8)
        label[...] = numbers + count - 1
        edge[...] = plane & (cv2.erode(plane.astype(np.uint8), CROSS) == 0)
        count += found - 1

    # Target pixels belong to their own component. For pixels outside, the nearest target pixel is on an outline.
    _, height, width = planes.shape
    down, right = np.meshgrid(WINDOW_OFFSETS, WINDOW_OFFSETS, indexing="ij")
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
