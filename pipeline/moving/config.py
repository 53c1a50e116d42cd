"""Settings of motion detection."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class MovingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of motion detection, which complements the network's detections in single frames.

    Attributes:
        enabled: False disables motion detection; only the network detects.
        interval_s: Interval in seconds between the three past frames that a frame is compared with, and between the
            frame and the latest of them. A target has to move by about its own size in this time.
        false_peaks: Number of false peaks per frame that the thresholds may let through. The thresholds of every
            source are derived from it automatically. In uncompressed pictures several times as many may pass where
            peaks are noise, and only few where they are clutter.
    """

    enabled: bool = True
    interval_s: Annotated[float, Meta(ge=0.05, le=10)] = 0.3
    false_peaks: Annotated[float, Meta(ge=0.001, le=20)] = 1.4
