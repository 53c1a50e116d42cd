"""How bright a frame is: what turns its counts into network input, 8 or 16 bit alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nets.normalisation import FrameZScore, frame_statistics
from pipeline.messages import Intensity


def measure(picture: NDArray[np.uint8] | NDArray[np.uint16], normalisation: FrameZScore) -> Intensity:
    """The affine map of a frame under the normalisation its network was trained with.

    Args:
        picture: (H, W) raw counts.
        normalisation: from the weights' manifest.
    """
    mean, std = frame_statistics(picture)
    return Intensity(mean=mean, gain=normalisation.gain(std))
