"""From raw counts to network input: z-scores of the frame and of neighbourhoods, 8 or 16 bit alike, and change."""

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
"""Steps of a change picture per standard deviation; 255 of them are 21."""
_EXACT_PIXELS = 2**17
"""Of so many the squares of 16 bits have a sum whose root, rounded to a double, has a square within a fifth of it."""
_CHANGE_GAIN = 1 / (4 * CHANGE_STEPS)
"""What is a target in most frames has changed by 4 to 20 deviations: the network sees 1 to 5."""


class FrameZScore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """z = clip((x - mean) / max(std, min_std), -clip, clip), mean and std of the whole raw frame.

    One more channel per window holds the same with mean and std of the square around each pixel. There a target
    of five times the noise stands out by five, however much brighter than the sky the ground is.

    Attributes:
        windows: sides of the squares in px, odd.
        min_std: floor of the divisor in counts, so that an even frame does not become pure noise; its square is a
            float32 above 0.
        clip: largest absolute value that the network sees, above 0.
        change: whether one more channel, the last, holds how much each place has changed since the frames of the last
            second or so, registered with this one: what a single frame cannot tell.
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
        """Factor from counts to standard deviations."""
        return 1.0 / max(std, self.min_std)


def frame_statistics(picture: Picture) -> tuple[float, float]:
    """Mean and population standard deviation in counts.

    The sums are exact integers, so the result depends neither on the order of summation nor on the machine.

    Args:
        picture: (H, W), uint8 or uint16, not empty.

    Raises:
        ValueError: empty, or another dtype.
    """
    if picture.dtype not in (np.uint8, np.uint16) or picture.size == 0:
        raise ValueError(f"frame statistics need a non-empty uint8 or uint16 picture, got {picture.dtype}")
    rows = max(1, _EXACT_PIXELS // picture.shape[1])
    parts = [np.ascontiguousarray(picture[top : top + rows]) for top in range(0, len(picture), rows)]
    total = sum(int(cv2.sumElems(part)[0]) for part in parts)
    squares = sum(round(cv2.norm(part, cv2.NORM_L2SQR)) for part in parts)  # OpenCV 5 takes a root and squares it again
    pixels = picture.size
    return total / pixels, math.sqrt((pixels * squares - total * total) / (pixels * pixels))


def change_picture(significance: NDArray[np.float32]) -> NDArray[np.uint8]:
    """How much each place has changed as it is kept and given to a network: uint8, ``CHANGE_STEPS`` a deviation.

    Args:
        significance: standard deviations, 0 or above.
    """
    return np.asarray(cv2.convertScaleAbs(significance, alpha=CHANGE_STEPS), np.uint8)


def normalise(planes: Tensor, mean: Tensor, gain: Tensor, norm: FrameZScore) -> Tensor:
    """Network input of a batch of frames with known statistics.

    Args:
        planes: (N, 1, H, W), float32, raw counts, or (N, 2, H, W), these and change pictures. Without them, and where
            they are 0, nothing is known of changes.
        mean: (N,), counts.
        gain: (N,), one over counts, from ``FrameZScore.gain``.
        norm: what the network was trained with.

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
        torch.div(torch.sub(counts, local, out=local).float(), spread, out=channels[:, channel : channel + 1])
    if norm.change:
        channels[:, -1:] = change * _CHANGE_GAIN if change.shape[1] else 0.0
    return channels.clamp_(-norm.clip, norm.clip)


def _box_means(counts: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Means of the counts and of their squares over a square around each pixel, of what of it lies in the picture.

    Double precision: where the ground is hot, the sky's noise is a millionth of the squares it is told from. Whole
    numbers of 16 bits have exact sums in it, whoever takes them, and in whatever order.

    Args:
        counts: (N, 1, H, W), float32.
        side: of the square, odd.

    Returns:
        two of (N, 1, H, W), float64.
    """
    # OpenCV's running sums take a tenth of the time on a CPU; a compiler cannot see into them, nor into a cache.
    on_cpu = counts.device.type == "cpu" and not torch.compiler.is_compiling()
    height, width = counts.shape[2:]
    if on_cpu:
        values, squares = _filtered(counts, side)
        share = _kept_share(height, width, side, counts.device)
    else:
        values, squares = _pooled(counts, side)
        share = _share(height, width, side, counts.device)
    return values.mul_(share), squares.mul_(share)


def _filtered(counts: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Sums over squares, of the counts (N, 1, H, W) and of their squares, float64, by OpenCV."""
    size, outside, planes = (side, side), cv2.BORDER_CONSTANT, counts[:, 0].numpy()
    sums = np.empty((2, *planes.shape))
    for plane, values, squares in zip(planes, *sums, strict=True):
        cv2.boxFilter(plane, cv2.CV_64F, size, values, normalize=False, borderType=outside)
        cv2.sqrBoxFilter(plane, cv2.CV_64F, size, squares, normalize=False, borderType=outside)
    values, squares = torch.from_numpy(sums)[:, :, None]
    return values, squares


def _pooled(counts: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The same on any device: along the rows, then along the columns.

    Sums of so few neighbours keep all cores of a GPU at work, where running sums go down a column one by one.
    """
    exact, half = counts.double(), side // 2
    both = torch.cat([exact, exact.square()], 1)
    both = F.avg_pool2d(both, (1, side), 1, (0, half), divisor_override=1)
    both = F.avg_pool2d(both, (side, 1), 1, (half, 0), divisor_override=1)
    return both[:, :1], both[:, 1:]


def _share(height: int, width: int, side: int, device: torch.device) -> Tensor:
    """One over the pixels of the picture in the square around each; (height, width), float64."""
    rows, columns = (_inside(length, side, device) for length in (height, width))
    return (1.0 / rows)[:, None] * (1.0 / columns)


_kept_share = lru_cache(maxsize=16)(_share)


def _inside(length: int, side: int, device: torch.device) -> Tensor:
    """How many pixels of a window lie in a line of that length, by the place of its middle; (length,) float64."""
    place, half = torch.arange(length, device=device), side // 2
    return ((place + half + 1).clamp(max=length) - (place - half).clamp(min=0)).double()
