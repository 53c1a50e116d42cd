"""Checks and orders the detections of a frame."""

from __future__ import annotations

import numpy as np

from pipeline.messages import DETECTION_DTYPE, Table


def canonical(detections: Table) -> Table:
    """Sort detections by position and, where positions are equal, by the other columns.

    So the tracks do not depend on the order in which detections come.

    Args:
        detections: (m,) rows of ``DETECTION_DTYPE``.

    Raises:
        ValueError: the detections have another dtype or a centroid that is not finite.
    """
    if detections.dtype != DETECTION_DTYPE or detections.ndim != 1:
        raise ValueError(f"detections: expected rows of DETECTION_DTYPE, got {detections.dtype} {detections.shape}")
    if not (np.isfinite(detections["x"]) & np.isfinite(detections["y"])).all():
        raise ValueError("detections: a centroid is not finite")
    order = np.lexsort([detections["x"], detections["y"]])
    placed = detections[["x", "y"]][order]
    if (placed[1:] == placed[:-1]).any():
        order = np.lexsort([detections[name] for name in reversed(DETECTION_DTYPE.names or ())])
    return detections[order]
