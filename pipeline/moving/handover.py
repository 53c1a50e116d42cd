"""Conversion of motion evidence to and from the message that passes it from the preprocess to the detect stage.

The message holds all that detection needs in little more than one byte per pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nets.normalisation import change_picture
from pipeline.capture.source import Picture
from pipeline.messages import EXCEEDING_DTYPE, MAX_OBJECTS, Moving, Table
from pipeline.moving.change_detection import MotionEvidence
from pipeline.moving.fusion import KEEP_MARGIN
from pipeline.moving.sharpness import Sharpness, sharpness_map


def to_message(evidence: MotionEvidence | None) -> Moving | None:
    """Convert the motion evidence of a frame to a message; None stays None."""
    if evidence is None:
        return None
    return Moving(
        change=change_picture(evidence.significance).tobytes(),
        exceeding=exceeding(evidence).tobytes(),
        mended=evidence.mended.tobytes(),
        sharp=evidence.sharpness.references.tobytes(),
        weight=evidence.sharpness.weight,
    )


def exceeding(evidence: MotionEvidence) -> Table:
    """Return the pixels that are at most ``KEEP_MARGIN`` below their threshold, or above it.

    If there are more than ``MAX_OBJECTS``, those with the largest excess are kept: so many changes mean that the whole
    picture is a different one.

    Returns:
        Rows of ``EXCEEDING_DTYPE`` in row-major order of the pixels.
    """
    over = evidence.significance - evidence.threshold
    at = np.flatnonzero(over > -KEEP_MARGIN)
    if len(at) > MAX_OBJECTS:
        largest = np.argpartition(np.take(over, at), -MAX_OBJECTS)[-MAX_OBJECTS:]
        at = at[np.sort(largest)]
    rows = np.zeros(len(at), EXCEEDING_DTYPE)
    rows["at"], rows["over"], rows["significance"] = at, np.take(over, at), np.take(evidence.significance, at)
    return rows


def change(moving: Moving | None, picture: Picture) -> NDArray[np.uint8]:
    """Return the change picture (H, W) uint8 that serves as network input; all 0 without motion evidence."""
    if moving is None:
        return np.zeros(picture.shape, np.uint8)
    return np.frombuffer(moving.change, np.uint8).reshape(picture.shape)


def hide(hidden: Table, picture: Picture) -> Picture:
    """Return a picture (H, W) with its hidden pixels, rows of ``REPLACED_DTYPE``, replaced; itself if none."""
    if not len(hidden):
        return picture
    clean = picture.copy()
    np.put(clean, hidden["at"], hidden["count"])
    return clean


def sharpness(moving: Moving, picture: Picture) -> Sharpness:
    """Recompute the sharpness of a picture (H, W) after replacing its stuck pixels, as the sending stage did."""
    mended, stuck = picture.astype(np.float32), moving.mended_table()
    np.put(mended, stuck["at"], stuck["count"])
    return Sharpness(sharpness_map(mended), np.frombuffer(moving.sharp, "<f4"), moving.weight)
