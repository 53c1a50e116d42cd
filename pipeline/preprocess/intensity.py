"""Intensity statistics that normalise the counts of a frame to network input, for 8 and 16 bits alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nets.normalisation import FrameZScore, frame_statistics
from pipeline.messages import Intensity


def measure(picture: NDArray[np.uint8] | NDArray[np.uint16], normalisation: FrameZScore) -> Intensity:
    """Return the affine map that normalises a frame as in the training of the network.

    Args:
        picture: (H, W) uint8 or uint16, raw counts.
        normalisation: Normalisation from the manifest of the weights.
    """
    mean, std = frame_statistics(picture)
    return Intensity(mean=mean, gain=normalisation.gain(std))
