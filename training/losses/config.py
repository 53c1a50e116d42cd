"""Loss section of a training recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from training.losses.scale import Weight

Share = Annotated[float, Meta(ge=0, le=1)]
Factor = Annotated[float, Meta(ge=0, le=1e9)]


class LossConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """cross_entropy * BCE + (1 - cross_entropy) * overlap + location_weight * location + hard_weight * hard.

    Attributes:
        cross_entropy: weight of the cross-entropy; the overlap term has the remaining weight.
        overlap: soft IoU over the batch, over each picture, or the mean of both (``iou``); Dice; or the scale-sensitive
            IoU (``scale``).
        scale: weight function of the scale-sensitive IoU.
        detach: whether that weight is treated as a constant in the gradient.
        location: measure of the distance between predicted and true targets.
        location_weight: weight of the location term.
        hard_weight: weight of the hard negatives, the mean cross-entropy of the background pixels where it is largest.
        hard_share: number of hard negatives as a fraction of all pixels.
        taught: weight of the teacher's map in the loss of crops that have a teacher; the masks have the remaining
            weight.
        warm_up: fraction of the run, from its start, in which the scale weight is 1 and the location term and hard
            negatives are off. Before the network has learnt what targets are, these terms are noise.
    """

    cross_entropy: Share = 0.3
    overlap: Literal["iou", "batch_iou", "picture_iou", "dice", "scale"] = "iou"
    scale: Weight = "diff"
    detach: bool = True
    location: Literal["none", "published", "centroid"] = "none"
    location_weight: Factor = 1.0
    hard_weight: Factor = 0.0
    hard_share: Annotated[float, Meta(gt=0, le=1)] = 0.01
    taught: Annotated[float, Meta(gt=0, le=1)] = 0.5
    warm_up: Share = 0.0
