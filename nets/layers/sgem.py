"""Semantic gap elimination (SGEM): the decoder uses encoder features through attention instead of directly.

After "SGEM" (Advances in Computer, Signals and Systems, 2025, doi 10.23977/acss.2025.090115). The paper gives only

    Q = Linear(Conv1x1(E3)),  K = Linear(Conv1x1(D1)),  Matrix = softmax(Conv1x1(Q K^T)),

and a residual path. The following was chosen here: the value that the matrix acts on (D1 resampled to E3's size), the
axis of the softmax (rows), the lengths of the vectors, and the factor gamma in front of the attention. Gamma starts at
0, so that training starts from the plain decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.layers.double_conv import UpConv

GRID = 32
VECTOR_LENGTH = 96
HEADS = 2
HEAD_CHANNELS = 32
# Matrices are transposed by ``transpose`` below because exporters do not support ``mT``.


class LiteralSgem(nn.Module):
    """The equations as printed: one query and one key vector per picture, their outer product, one matrix per channel.

    Row i of a channel's matrix is softmax_j(scale q_i k_j), so it mixes the rows of the picture but never its columns.
    A linear layer has a fixed input size, so both maps are averaged onto a 32x32 grid first and the vectors are
    interpolated to the picture's height afterwards. Vectors of length 96 bring the network nearest to the published
    8.69 M parameters. The convolution after the product has no bias: a bias would shift a whole row, which does not
    change the softmax.

    Args:
        channels: C of the skip; the features of the coarser level have 2 C.

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
        """Attention matrix (N, C, H, H); every row sums to 1."""
        height = skip.shape[-2]
        query, key = _stretch(self.query(skip), height), _stretch(self.key(deep), height)
        return torch.softmax(self.scale((query.transpose(-2, -1) @ key).unsqueeze(1)), dim=-1)


class LinearSgem(nn.Module):
    """Size-independent variant: every pixel of the skip attends to every pixel of the upsampled coarser level.

    Linear attention with two heads of 32 channels (Katharopoulos et al., ICML 2020). Its cost grows with the number of
    pixels instead of its square.

    Args:
        channels: C of the skip; the features of the coarser level have 2 C.

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
    """Feature map of linear attention, elu(x) + 1; same shape, >= 0."""
    return F.elu(features) + 1


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute M V with M_ij = q_i . k_j / sum_j q_i . k_j, without forming M.

    Args:
        query: (..., L, D), >= 0.
        key: (..., S, D), >= 0.
        value: (..., S, E).

    Returns:
        (..., L, E); every row is a weighted mean of the values.
    """
    # Uses means over S, scaled before summation: the ratio is the same, and plain sums over a large picture would
    # exceed the range of half precision.
    root: float = key.shape[-2] ** -0.5
    context = (key.transpose(-2, -1) * root) @ (value * root)
    total = query @ key.mean(dim=-2, keepdim=True).transpose(-2, -1)
    return query @ context / total.clamp(min=torch.finfo(total.dtype).tiny)


class _PictureVector(nn.Module):
    """1x1 convolution to one map, averaging onto the grid and a linear layer: (N, C, H, W) -> (N, 1, 96)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, 1, 1, bias=False)
        self.linear = nn.Linear(GRID * GRID, VECTOR_LENGTH)

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        grid = (
            averaging_matrix(height, features)
            @ self.squeeze(features)
            @ averaging_matrix(width, features).transpose(-2, -1)
        )
        return self.linear(grid.flatten(2))  # type: ignore[no-any-return]


def averaging_matrix(length: int, like: Tensor) -> Tensor:
    """Return the matrix (32, length) with which ``F.adaptive_avg_pool2d`` averages one picture side onto the grid.

    Exporters support that function only for multiples of the grid size, but a matrix product for every size.

    Args:
        length: length of the side in px.
        like: tensor that gives dtype and device.
    """
    cell, place = (torch.arange(count, device=like.device) for count in (GRID, length))
    start, end = cell * length // GRID, ((cell + 1) * length + GRID - 1) // GRID
    inside = (place >= start[:, None]) & (place < end[:, None])
    return inside.to(like.dtype) / (end - start)[:, None].to(like.dtype)


def _stretch(vector: Tensor, length: int) -> Tensor:
    return F.interpolate(vector, size=length, mode="linear", align_corners=True)


def _heads(features: Tensor) -> Tensor:
    """Split heads: (N, heads * D, H, W) -> (N, heads, H * W, D)."""
    return features.reshape(len(features), HEADS, HEAD_CHANNELS, -1).transpose(-2, -1)
