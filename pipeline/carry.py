"""Points of the scene from one frame to the next, by the camera's motion."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.messages import Affine

Points = NDArray[np.float64]


def carry(points: Points, matrix: Affine) -> Points:
    """Points (n, 2) of the previous frame, px, in this frame's coordinates."""
    if not len(points):
        return points
    return np.asarray(cv2.transform(points[None], np.reshape(matrix, (2, 3)))[0], np.float64)


def carry_back(points: Points, matrix: Affine) -> Points:
    """Points (n, 2) of this frame, px, in the previous frame's coordinates."""
    a, b, tx, c, d, ty = matrix
    return np.linalg.solve(np.array([[a, b], [c, d]]), (points - (tx, ty)).T).T
