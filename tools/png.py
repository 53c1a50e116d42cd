"""Write a picture as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def write(path: Path, picture: NDArray[np.integer[Any]]) -> None:
    """Write a picture, (H, W) or (H, W, 3), uint8 or uint16.

    Raises:
        OSError: the file cannot be written; it has the file's name also if the disk is full.
    """
    try:
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
