"""Network input from raw counts: z-scores over the frame and over local windows, and temporal change, 8 or 16 bit."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
from msgspec import Meta, Struct
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Picture = NDArray[np.unsignedinteger[Any]]
CHANGE_STEPS = 12
"""Steps of a change picture per standard deviation; the maximum of 255 stands for 21 standard deviations."""
_EXACT_PIXELS = 2**17
"""Maximum number of pixels per partial sum of squares.

OpenCV 5 squares the rounded root of the sum. For this many 16-bit pixels the error is below 0.2, so rounding is exact.
"""
_CHANGE_GAIN = 1 / (4 * CHANGE_STEPS)
"""Factor from a change picture to the network input.

In most frames a target has changed by 4 to 20 standard deviations, which become 1 to 5.
"""


class FrameZScore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """z = clip((x - mean) / max(std, min_std), -clip, clip), with mean and std of the whole raw frame.

    Each window adds a channel with the same formula, but mean and std of the square around each pixel. In that channel
    a target of five times the noise stands out by five, however much brighter than the sky the ground is.

    Attributes:
        windows: sides of the squares in px, odd.
        min_std: lower limit of the divisor in counts, so that a uniform frame does not become pure noise; its square is
            a float32 above 0.
        clip: largest absolute value of the network input, above 0.
        change: whether a last channel holds the change at each pixel against the registered frames of about the last
            second. A single frame does not contain this information.
    """

    kind: Literal["frame_zscore"] = "frame_zscore"
    min_std: Annotated[float, Meta(ge=1e-6, le=1e9)] = 1.0
    clip: Annotated[float, Meta(gt=0, le=1e9)] = 10.0
    windows: tuple[Annotated[int, Meta(ge=3, le=255)], ...] = ()
    change: bool = False

    def __post_init__(self) -> None:
        if even := [side for side in self.windows if side % 2 == 0]:
            raise ValueError(f"windows: {even[0]} is even, so it has no middle")

    @property
    def channels(self) -> int:
        """Channels of the network input."""
        return 1 + len(self.windows) + self.change

    def gain(self, std: float) -> float:
        """Return the factor from counts to standard deviations."""
        return 1.0 / max(std, self.min_std)


def frame_statistics(picture: Picture) -> tuple[float, float]:
    """Return the mean and the population standard deviation in counts.

    The sums are exact integers, so the result depends neither on the order of summation nor on the machine.

    Args:
        picture: (H, W), uint8 or uint16, not empty.

    Raises:
        ValueError: the picture is empty or has another dtype.
    """
    if picture.dtype not in (np.uint8, np.uint16) or picture.size == 0:
        raise ValueError(f"frame statistics need a non-empty uint8 or uint16 picture, got {picture.dtype}")
    rows = max(1, _EXACT_PIXELS // picture.shape[1])
    parts = [np.ascontiguousarray(picture[top : top + rows]) for top in range(0, len(picture), rows)]
    total = sum(int(cv2.sumElems(part)[0]) for part in parts)
    squares = sum(round(cv2.norm(part, cv2.NORM_L2SQR)) for part in parts)  # OpenCV 5 squares a rounded root
    pixels = picture.size
    return total / pixels, math.sqrt((pixels * squares - total * total) / (pixels * pixels))


def change_picture(significance: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Quantise change for storage and network input: uint8, ``CHANGE_STEPS`` per standard deviation.

    Args:
        significance: change in standard deviations, 0 or above.
    """
    return np.asarray(cv2.convertScaleAbs(significance, alpha=CHANGE_STEPS), np.uint8)


def normalise(planes: Tensor, mean: Tensor, gain: Tensor, norm: FrameZScore) -> Tensor:
    """Compute the network input of a batch of frames with known statistics.

    Args:
        planes: (N, 1, H, W) raw counts, or (N, 2, H, W) raw counts and change pictures, float32. A missing or zero
            change picture means that no change is known.
        mean: (N,), counts.
        gain: (N,), one over counts, from ``FrameZScore.gain``.
        norm: normalisation the network was trained with.

    Returns:
        (N, norm.channels, H, W) in [-clip, clip].
    """
    counts, change = planes[:, :1], planes[:, 1:]
    mean, gain = mean.view(-1, 1, 1, 1), gain.view(-1, 1, 1, 1)
    channels = torch.empty(len(counts), norm.channels, *counts.shape[2:], device=counts.device)
    channels[:, :1] = (counts - mean) * gain
    for channel, side in enumerate(norm.windows, start=1):
        local, squares = _box_means(counts, side)
        variance = squares.addcmul_(local, local, value=-1).float()
        spread = variance.clamp_(min=norm.min_std**2).sqrt_()
        # Neither a new float64 tensor, which takes time, nor "out=" a view, which torch.compile cannot trace.
        channels[:, channel : channel + 1].copy_(local.neg_().add_(counts)).div_(spread)
    if norm.change:
        channels[:, -1:] = change * _CHANGE_GAIN if change.shape[1] else 0.0
    return channels.clamp_(-norm.clip, norm.clip)


def _box_means(counts: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Means of the counts and of their squares over the part of the square around each pixel inside the picture.

    Uses double precision: with hot ground in the picture, the variance of the sky noise is a millionth of the squares
    that it is computed from. Sums of 16-bit integers are exact in float64, whatever the implementation and the order.

    Args:
        counts: (N, 1, H, W), float32.
        side: side of the square in px, odd.

    Returns:
        Two tensors (N, 1, H, W), float64.
    """
    # OpenCV's running sums take a tenth of the time on a CPU, but torch.compile cannot trace them or the cache.
    on_cpu = counts.device.type == "cpu" and not torch.compiler.is_compiling()
    height, width = counts.shape[2:]
    if on_cpu:
        values, squares = _filtered(counts, side)
        share = _cached_share(height, width, side, counts.device)
    else:
        values, squares = _pooled(counts, side)
        share = _share(height, width, side, counts.device)
    return values.mul_(share), squares.mul_(share)


def _filtered(counts: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Sums of the counts (N, 1, H, W) and of their squares over squares, float64, by OpenCV."""
    size, outside, planes = (side, side), cv2.BORDER_CONSTANT, counts[:, 0].numpy()
    sums = np.empty((2, *planes.shape))
    for plane, values, squares in zip(planes, *sums, strict=True):
        cv2.boxFilter(plane, cv2.CV_64F, size, values, normalize=False, borderType=outside)
        cv2.sqrBoxFilter(plane, cv2.CV_64F, size, squares, normalize=False, borderType=outside)
    values, squares = torch.from_numpy(sums)[:, :, None]
    return values, squares


def _pooled(counts: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Same as ``_filtered`` on any device: sums along the rows, then along the columns.

    Direct sums of so few neighbours keep all cores of a GPU busy, whereas running sums go down each column
    sequentially.
    """
    exact, half = counts.double(), side // 2
    both = torch.cat([exact, exact.square()], 1)
    both = F.avg_pool2d(both, (1, side), 1, (0, half), divisor_override=1)
    both = F.avg_pool2d(both, (side, 1), 1, (half, 0), divisor_override=1)
    return both[:, :1], both[:, 1:]


def _share(height: int, width: int, side: int, device: torch.device) -> Tensor:
    """Reciprocal of the number of picture pixels in the square around each pixel; (height, width), float64."""
    rows, columns = (_inside(length, side, device) for length in (height, width))
    return (1.0 / rows)[:, None] * (1.0 / columns)


_cached_share = lru_cache(maxsize=16)(_share)


def _inside(length: int, side: int, device: torch.device) -> Tensor:
    """Number of pixels of a window that lie inside a line of this length, by window centre; (length,), float64."""
    place, half = torch.arange(length, device=device), side // 2
    return ((place + half + 1).clamp(max=length) - (place - half).clamp(min=0)).double()
