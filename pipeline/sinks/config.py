"""Settings of the sinks."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class PageConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Address of the live page, and who may see it.

    Attributes:
        port: TCP port. None serves no page. 0 lets the system choose a port.
        host: address to listen on. Beyond this machine, a password is required, or ``insecure``.
        password_file: file whose first line is the password, which no other user may read. It travels unencrypted.
        insecure: serve without a password beyond this machine too. Anyone on that network can then watch.
        max_fps: most pictures per second and source; one per second while nobody watches.
    """

    port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    password_file: str | None = None
    insecure: bool = False
    max_fps: Annotated[float, Meta(ge=1, le=240)] = 15.0


class SinkConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which results are written and displayed.

    Attributes:
        jsonl: write ``tracks.jsonl`` and ``detections.jsonl``.
        mot: write ``tracks.mot.txt``.
        overlay: write ``overlay.mp4``.
        overlay_scale: integer magnification of the overlay; None chooses it by the picture size.
        display: show the overlay in a window.
        page: the live page, which shows the overlays in a browser.
        trail_s: length in seconds of the trail drawn behind a track.
    """

    jsonl: bool = True
    mot: bool = True
    overlay: bool = True
    overlay_scale: Annotated[int, Meta(ge=1, le=4)] | None = None
    display: bool = False
    page: PageConfig = PageConfig()
    trail_s: Annotated[float, Meta(ge=0, le=60)] = 2.0
