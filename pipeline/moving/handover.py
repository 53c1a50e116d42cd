"""What moves in a frame, as one stage tells the next: all that detection needs of it, in little more than one plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nets.normalisation import change_picture
from pipeline.capture.source import Picture
from pipeline.messages import EXCEEDING_DTYPE, MAX_OBJECTS, Moving, Table
from pipeline.moving.evidence import Evidence
from pipeline.moving.fusion import WEAK
from pipeline.moving.sharpness import Sharpness, sharpest


def tell(evidence: Evidence | None) -> Moving | None:
    """The evidence of a frame as a message."""
    if evidence is None:
        return None
    return Moving(
        change=change_picture(evidence.significance).tobytes(),
        exceeding=exceeding(evidence).tobytes(),
        mended=evidence.mended.tobytes(),
        sharp=evidence.sharpness.others.tobytes(),
        weight=evidence.sharpness.weight,
    )


def exceeding(evidence: Evidence) -> Table:
    """The pixels that are no further than ``WEAK`` below their threshold, ``EXCEEDING_DTYPE``, row by row.

    Of more than ``MAX_OBJECTS`` those that exceed it the most: a picture that has changed so much is another one.
    """
    over = evidence.significance - evidence.threshold
    at = np.flatnonzero(over > -WEAK)
    if len(at) > MAX_OBJECTS:
        most = np.argpartition(over.flat[at], -MAX_OBJECTS)[-MAX_OBJECTS:]
        at = at[np.sort(most)]
    found = np.zeros(len(at), EXCEEDING_DTYPE)
    found["at"], found["over"], found["significance"] = at, over.flat[at], evidence.significance.flat[at]
    return found


def change(moving: Moving | None, picture: Picture) -> NDArray[np.uint8]:
    """What a network is shown of the changes in a picture (H, W); 0 where nothing is known."""
    if moving is None:
        return np.zeros(picture.shape, np.uint8)
    return np.frombuffer(moving.change, np.uint8).reshape(picture.shape)


def sharpness(moving: Moving, picture: Picture) -> Sharpness:
    """How sharp things are in a picture (H, W), but for its stuck pixels."""
    mended, stuck = picture.astype(np.float32), moving.mended_table()
    mended.flat[stuck["at"]] = stuck["count"]
    return Sharpness(sharpest(mended), np.frombuffer(moving.sharp, "<f4"), moving.weight)
