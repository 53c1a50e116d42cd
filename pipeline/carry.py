"""Transform points between consecutive frames with the ego-motion estimate."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.messages import Affine

Points = NDArray[np.float64]


def carry(points: Points, matrix: Affine) -> Points:
    """Transform points (n, 2) in px from the previous frame's coordinates to this frame's."""
    if not len(points):
        return points
    return np.asarray(cv2.transform(points[None], np.reshape(matrix, (2, 3)))[0], np.float64)


def carry_back(points: Points, matrix: Affine) -> Points:
    """Transform points (n, 2) in px from this frame's coordinates back to the previous frame's."""
    a, b, tx, c, d, ty = matrix
    return np.linalg.solve(np.array([[a, b], [c, d]]), (points - (tx, ty)).T).T
