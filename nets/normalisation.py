"""From raw counts to network input: z-scores of the frame and of neighbourhoods, 8 or 16 bit alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
from msgspec import Meta, Struct
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[np.unsignedinteger[Any]]


class FrameZScore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """z = clip((x - mean) / max(std, min_std), -clip, clip), mean and std of the whole raw frame.

    One more channel per window holds the same with mean and std of the square around each pixel. There a target
    of five times the noise stands out by five, however much brighter than the sky the ground is.

    Attributes:
        windows: sides of the squares in px, odd.
        min_std: floor of the divisor in counts, so that an even frame does not become pure noise.
        clip: largest absolute value that the network sees.
    """

    kind: Literal["frame_zscore"] = "frame_zscore"
    min_std: float = 1.0
    clip: float = 10.0
    windows: tuple[Annotated[int, Meta(ge=3, le=255)], ...] = ()

    @property
    def channels(self) -> int:
        """Channels of the network input."""
        return 1 + len(self.windows)

    def gain(self, std: float) -> float:
        """Factor from counts to standard deviations."""
        return 1.0 / max(std, self.min_std)


def frame_statistics(picture: Picture) -> tuple[float, float]:
    """Mean and population standard deviation in counts.

    The sums are exact integers, so the result depends neither on the order of summation nor on the machine
    (up to 8 million 16-bit pixels; beyond that to double precision).

    Args:
        picture: (H, W), uint8 or uint16, not empty.

    Raises:
        ValueError: empty, or another dtype.
    """
    if picture.dtype not in (np.uint8, np.uint16) or picture.size == 0:
        raise ValueError(f"frame statistics need a non-empty uint8 or uint16 picture, got {picture.dtype}")
    # Counting from the middle of the range keeps the sum of squares inside the 53 bits of a double.
    middle = (int(np.iinfo(picture.dtype).max) + 1) // 2
    counts = picture.ravel().astype(np.float64)
    counts -= middle
    # Not np.dot: its BLAS threads go on spinning after every frame, on the cores that the network needs.
    pixels, total, squares = counts.size, int(counts.sum()), int(np.square(counts).sum())
    variance = (pixels * squares - total * total) / (pixels * pixels)
    return middle + total / pixels, math.sqrt(variance)


def normalise(counts: Tensor, mean: Tensor, gain: Tensor, norm: FrameZScore) -> Tensor:
    """Network input of a batch of frames with known statistics.

    Args:
        counts: (N, 1, H, W), float32, raw counts.
        mean: (N,), counts.
        gain: (N,), one over counts, from ``FrameZScore.gain``.
        norm: what the network was trained with.

    Returns:
        (N, norm.channels, H, W) in [-clip, clip].
    """
    gain = gain.view(-1, 1, 1, 1)
    frame = (counts - mean.view(-1, 1, 1, 1)) * gain
    channels = torch.empty(len(frame), norm.channels, *frame.shape[2:], device=frame.device)
    channels[:, :1] = frame
    for channel, side in enumerate(norm.windows, start=1):
        local = _box_mean(frame, side)
        variance = _box_mean(frame, side, of_squares=True).addcmul_(local, local, value=-1).float()
        spread = torch.maximum(variance.clamp_(min=0).sqrt_(), gain * norm.min_std)
        channels[:, channel : channel + 1] = (frame - local).float() / spread
    return channels.clamp_(-norm.clip, norm.clip)


def _box_mean(picture: Tensor, side: int, *, of_squares: bool = False) -> Tensor:
    """Mean over a square around each pixel, of what of it lies in the picture; (N, 1, H, W) float64.

    Double precision: where the ground is hot, the sky's noise is a millionth of the squares it is told from.
    """
    height, width = picture.shape[2:]
    rows, columns = (_inside(length, side, picture.device) for length in (height, width))
    if picture.device.type == "cpu":
        sums = _filtered(picture, side, cv2.sqrBoxFilter if of_squares else cv2.boxFilter)
    else:
        sums = _cumulated(picture.double().square() if of_squares else picture.double(), side)
    return sums.mul_((1.0 / rows)[:, None] * (1.0 / columns))


def _filtered(picture: Tensor, side: int, box: Callable[..., Any]) -> Tensor:
    """Sums over squares by OpenCV's running sums, a tenth of the time of cumulated ones on a CPU."""
    size, outside = (side, side), cv2.BORDER_CONSTANT
    planes = [box(p, cv2.CV_64F, size, normalize=False, borderType=outside) for p in picture[:, 0].numpy()]
    return torch.from_numpy(np.stack(planes))[:, None]


def _cumulated(picture: Tensor, side: int) -> Tensor:
    """The same on any device."""
    return _line_sum(_line_sum(picture, side, dim=-1), side, dim=-2)


def _inside(length: int, side: int, device: torch.device) -> Tensor:
    """How many pixels of a window lie in a line of that length, by the place of its middle; (length,) float64."""
    place, half = torch.arange(length, device=device), side // 2
    return ((place + half + 1).clamp(max=length) - (place - half).clamp(min=0)).double()


def _line_sum(picture: Tensor, side: int, dim: int) -> Tensor:
    length, half = picture.shape[dim], side // 2
    sums = picture.cumsum(dim)
    zero, whole = torch.zeros_like(sums.narrow(dim, 0, 1)), sums.narrow(dim, length - 1, 1)
    # Lengthened beyond both edges, so that two slices give all windows: slices cost a fraction of gathering.
    sums = torch.cat([_widen(zero, half + 1, dim), sums, _widen(whole, half, dim)], dim)
    return sums.narrow(dim, side, length) - sums.narrow(dim, 0, length)


def _widen(line: Tensor, length: int, dim: int) -> Tensor:
    """One row or column as a view of many."""
    shape = list(line.shape)
    shape[dim] = length
    return line.expand(shape)
