"""From raw counts to network input: the z-score of the whole frame, in its own counts, 8 or 16 bit alike."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[np.unsignedinteger[Any]]


class FrameZScore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """z = clip((x - mean) / max(std, min_std), -clip, clip), mean and std of the whole raw frame.

    Attributes:
        min_std: floor of the divisor in counts, so that an even frame does not become pure noise.
        clip: largest absolute value that the network sees.
    """

    kind: Literal["frame_zscore"] = "frame_zscore"
    min_std: float = 1.0
    clip: float = 10.0

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
    pixels, total, squares = counts.size, int(counts.sum()), int(np.dot(counts, counts))
    variance = (pixels * squares - total * total) / (pixels * pixels)
    return middle + total / pixels, math.sqrt(variance)


def normalise(counts: Tensor, mean: Tensor, gain: Tensor, clip: float) -> Tensor:
    """Z-score of a batch of frames with known statistics.

    Args:
        counts: (N, C, H, W), float, raw counts.
        mean: (N,), counts.
        gain: (N,), one over counts, from ``FrameZScore.gain``.
        clip: bound of the result.

    Returns:
        (N, C, H, W) in [-clip, clip].
    """
    return ((counts - mean.view(-1, 1, 1, 1)) * gain.view(-1, 1, 1, 1)).clamp(-clip, clip)
