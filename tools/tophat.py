"""Classic top-hat detector for comparison: morphological response relative to the local clutter."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.messages import DETECTION_DTYPE, Table

Indices = NDArray[np.intp]
SIDE = 9  # px, kernel of the top-hat and of the local maxima
SURROUNDINGS = 31  # px, window of the local clutter
MOST = 60  # detections per picture
HALF = 2  # px, half width of the window for centroid and area
BIRTH_Z, KEEP_Z = 6.0, 4.0
THRESHOLD, LOW = 0.5, KEEP_Z / (KEEP_Z + BIRTH_Z)
"""Scores z / (z + 6) from which a track may start (``BIRTH_Z``) and be continued (``KEEP_Z``)."""


def find(picture: Picture) -> Table:
    """Detect bright and dark spots up to about 9 px.

    The response is the larger of the white and the black top-hat. z is the response divided by 1.25 times its mean over
    31 x 31 px; the factor 1.25 turns the mean of noise into roughly a standard deviation. A detection is a local
    maximum with z of at least 4.

    Args:
        picture: (H, W) uint8 or uint16.

    Returns:
        Rows of ``DETECTION_DTYPE``, at most 60, strongest first; ``snr`` is z.
    """
    grey = picture.astype(np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (SIDE, SIDE))
    response = np.maximum(
        cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, kernel), cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel)
    )
    local = cv2.blur(response, (SURROUNDINGS, SURROUNDINGS))
    z = response / (1.25 * np.maximum(local, max(float(response.mean()), 0.35)))
    peaks = (z >= KEEP_Z) & (z >= cv2.dilate(z, np.ones((SIDE, SIDE), np.uint8)))
    rows, columns = np.nonzero(peaks)
    best = np.argsort(-z[rows, columns], kind="stable")[:MOST]
    return _table(response, z, rows[best], columns[best])


def _table(response: NDArray[Any], z: NDArray[Any], rows: Indices, columns: Indices) -> Table:
    table = np.zeros(len(rows), DETECTION_DTYPE)
    for spot, row, column in zip(table, rows, columns, strict=True):
        top, left = max(0, row - HALF), max(0, column - HALF)
        window = response[top : row + HALF + 1, left : column + HALF + 1]
        strong = np.where(window >= 0.5 * response[row, column], window, 0)
        y, x = np.indices(window.shape)
        spot["x"], spot["y"] = left + (x * strong).sum() / strong.sum(), top + (y * strong).sum() / strong.sum()
        spot["area"] = np.count_nonzero(strong)
        spot["bx"], spot["by"], spot["bw"], spot["bh"] = left, top, window.shape[1], window.shape[0]
        spot["snr"] = z[row, column]
        spot["score"] = z[row, column] / (z[row, column] + BIRTH_Z)
    return table
