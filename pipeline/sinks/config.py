"""Settings of the sinks."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class SinkConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which results are written and displayed.

    Attributes:
        jsonl: write ``tracks.jsonl`` and ``detections.jsonl``.
        mot: write ``tracks.mot.txt``.
        overlay: write ``overlay.mp4``.
        overlay_scale: integer magnification of the overlay; None chooses it by the picture size.
        display: show the overlay in a window.
        trail_s: length in seconds of the trail drawn behind a track.
    """

    jsonl: bool = True
    mot: bool = True
    overlay: bool = True
    overlay_scale: Annotated[int, Meta(ge=1, le=4)] | None = None
    display: bool = False
    trail_s: Annotated[float, Meta(ge=0, le=60)] = 2.0
