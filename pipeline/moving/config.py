"""Settings of finding what moves."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class MovingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of finding what moves against the scene, beside what the network finds in single frames.

    Attributes:
        enabled: False leaves it to the network alone.
        interval_s: between the three past frames that a frame is compared with, and from it to the latest of them. A
            target has to move by about its own size in this time.
        false_peaks: per frame that the threshold may let through; it follows from that for every source by itself. Of
            pictures that no coder has touched several times as many where they are noise, and few where they are
            clutter.
    """

    enabled: bool = True
    interval_s: Annotated[float, Meta(ge=0.05, le=10)] = 0.3
    false_peaks: Annotated[float, Meta(ge=0.001, le=20)] = 1.4
