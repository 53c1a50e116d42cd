"""Semantic gap elimination: the decoder asks the encoder by attention instead of taking its features as they are.

After "SGEM" (Advances in Computer, Signals and Systems, 2025, doi 10.23977/acss.2025.090115). The paper gives

    Q = Linear(Conv1x1(E3)),  K = Linear(Conv1x1(D1)),  Matrix = softmax(Conv1x1(Q K^T)),

a residual path, and no more. Ours are: the value that the matrix acts on (D1 brought to E3's size), the axis of the
softmax (rows), the lengths of the vectors, and the factor gamma in front of the attention, 0 at first, so that
training starts from the plain decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.layers.double_conv import UpConv

GRID = 32
VECTOR = 96
HEADS = 2
HEAD_CHANNELS = 32
# Matrices are turned by ``transpose`` below: exporters know no ``mT``.


class LiteralSgem(nn.Module):
    """The equations as printed: one query and one key vector a picture, their outer product, a matrix per channel.

    Row i of a channel's matrix is softmax_j(scale q_i k_j): it mixes the rows of the picture, never its columns.
    A linear layer binds the size of its input, so both maps are averaged onto a grid of 32x32 first and the vectors
    stretched to the picture's height after. Vectors of 96 bring the network nearest to the published 8.69 M parameters.
    The convolution after the product has no bias: it would move a whole row, which softmax does not see.

    Args:
        channels: C of the skip; the features from below have 2 C.

    Shape:
        skip (N, C, H, W), deep (N, 2 C, H/2, W/2) -> (N, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.up = UpConv(2 * channels, channels)
        self.query = _PictureVector(channels)
        self.key = _PictureVector(2 * channels)
        self.scale = nn.Conv2d(1, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        value: Tensor = self.up(deep)
        return value + self.gamma * (self.matrix(skip, deep) @ value)

    def matrix(self, skip: Tensor, deep: Tensor) -> Tensor:
        """The attention (N, C, H, H); every row sums to 1."""
        height = skip.shape[-2]
        query, key = _stretch(self.query(skip), height), _stretch(self.key(deep), height)
        return torch.softmax(self.scale((query.transpose(-2, -1) @ key).unsqueeze(1)), dim=-1)


class LinearSgem(nn.Module):
    """The same idea without a size of its own: every pixel of the skip attends to every pixel from below.

    Linear attention with two heads of 32 channels (Katharopoulos et al., ICML 2020); the cost grows with the
    number of pixels, not with its square.

    Args:
        channels: C of the skip; the features from below have 2 C.

    Shape:
        skip (N, C, H, W), deep (N, 2 C, H/2, W/2) -> (N, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = HEADS * HEAD_CHANNELS
        self.out_channels = channels
        self.up = UpConv(2 * channels, channels)
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, inner, 1)
        self.project = nn.Conv2d(inner, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        up: Tensor = self.up(deep)
        query, key, value = _heads(self.query(skip)), _heads(self.key(up)), _heads(self.value(up))
        attended = linear_attention(positive(query), positive(key), value)
        mixed: Tensor = self.project(attended.transpose(-2, -1).reshape(len(up), -1, *up.shape[-2:]))
        return up + self.gamma * mixed


def positive(features: Tensor) -> Tensor:
    """elu(x) + 1, the feature map of linear attention; same shape, >= 0."""
    return F.elu(features) + 1


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """M V with M_ij = q_i . k_j / sum_j q_i . k_j, without forming M.

    Args:
        query: (..., L, D), >= 0.
        key: (..., S, D), >= 0.
        value: (..., S, E).

    Returns:
        (..., L, E), a weighted mean of the values in every row.
    """
    # Means instead of sums over S, divided before they are summed: the ratio is the same, and the sums over a
    # large picture would leave the range of half precision.
    root: float = key.shape[-2] ** -0.5
    context = (key.transpose(-2, -1) * root) @ (value * root)
    total = query @ key.mean(dim=-2, keepdim=True).transpose(-2, -1)
    return query @ context / total.clamp(min=torch.finfo(total.dtype).tiny)


class _PictureVector(nn.Module):
    """1x1 convolution to one map, average onto the grid, linear layer: (N, C, H, W) -> (N, 1, 96)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, 1, 1, bias=False)
        self.linear = nn.Linear(GRID * GRID, VECTOR)

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        grid = averaging(height, features) @ self.squeeze(features) @ averaging(width, features).transpose(-2, -1)
        return self.linear(grid.flatten(2))  # type: ignore[no-any-return]


def averaging(length: int, like: Tensor) -> Tensor:
    """The matrix (32, length) by which ``F.adaptive_avg_pool2d`` averages one side of a picture onto the grid.

    Exporters know that function for none but multiples of the grid, a matrix for every size.

    Args:
        length: of the side, px.
        like: gives dtype and device.
    """
    cell, place = (torch.arange(count, device=like.device) for count in (GRID, length))
    start, end = cell * length // GRID, ((cell + 1) * length + GRID - 1) // GRID
    inside = (place >= start[:, None]) & (place < end[:, None])
    return inside.to(like.dtype) / (end - start)[:, None].to(like.dtype)


def _stretch(vector: Tensor, length: int) -> Tensor:
    return F.interpolate(vector, size=length, mode="linear", align_corners=True)


def _heads(features: Tensor) -> Tensor:
    """(N, heads * D, H, W) -> (N, heads, H * W, D)."""
    return features.reshape(len(features), HEADS, HEAD_CHANNELS, -1).transpose(-2, -1)
