"""Convert decoded images to the format of the pipeline: one channel, native bit depth, checked size."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.errors import SourceError
from pipeline.messages import MAX_SIDE
from pipeline.wire import MAX_PICTURE_BYTES

MIN_SIDE = 32
"""Smallest side in px accepted by the networks."""

_TO_GRAY = {3: cv2.COLOR_BGR2GRAY, 4: cv2.COLOR_BGRA2GRAY}


def as_picture(image: NDArray[Any], name: str) -> Picture:
    """Convert a decoded image to one channel: luma of colour images, unchanged values of gray ones.

    Gray images stored with three equal channels also keep their exact values.

    Args:
        image: (H, W), (H, W, 1), or (H, W, 3 or 4) in OpenCV's BGR(A) order; uint8 or uint16.
        name: name of the medium for error messages.

    Returns:
        (H, W) C-contiguous array of the same dtype.

    Raises:
        SourceError: unsupported pixel type, a side outside 32..16384 px, or more than 256 MiB, the limit of a message.
    """
    if image.dtype not in (np.uint8, np.uint16):
        raise SourceError(f"{name}: pixels of type {image.dtype}, only 8-bit and 16-bit unsigned can be read")
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise SourceError(f"{name}: not a gray or colour picture (array of shape {image.shape})")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise SourceError(f"{name}: picture of {width}x{height} px is smaller than {MIN_SIDE}x{MIN_SIDE}")
    if max(height, width) > MAX_SIDE:
        raise SourceError(f"{name}: picture of {width}x{height} px is larger than {MAX_SIDE}x{MAX_SIDE}")
    if height * width * image.itemsize > MAX_PICTURE_BYTES:
        kind = f"{width}x{height} px {8 * image.itemsize} bit"
        raise SourceError(f"{name}: picture of {kind} is larger than {MAX_PICTURE_BYTES >> 20} MiB")
    # OpenCV's luma weights sum to one exactly, so three equal channels are returned exactly.
    gray = image.reshape(height, width) if channels == 1 else cv2.cvtColor(image, _TO_GRAY[channels])
    return cast(Picture, np.ascontiguousarray(gray))


def bits_in_use(picture: Picture, bit_depth: int | None) -> int:
    """Return the bit depth of a picture: 8 for uint8; for uint16 the configured ``bit_depth``, or else 16."""
    return 8 if picture.dtype == np.uint8 else bit_depth or 16
