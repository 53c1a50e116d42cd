"""Settings of the video sources."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class ReconnectConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reconnect to a lost live source.

    Attributes:
        initial_s: wait before the second attempt in seconds; the first one is immediate. Doubles with every attempt.
        max_s: longest wait between attempts in seconds.
        give_up_s: fail when the source stays away for this many seconds; None retries forever.
    """

    initial_s: Seconds = 0.5
    max_s: Seconds = 10.0
    give_up_s: Annotated[float, Meta(gt=0)] | None = None


class RemoteConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sources on other machines (``zmq+tcp://``) are authenticated.

    Attributes:
        keys: folder with this machine's keys and the keys it trusts, as created by ``tools.make_keys``.
        insecure: connect without keys, also over a network. Anyone on that network can then read or replace the frames.
    """

    keys: str | None = None
    insecure: bool = False


class CaptureConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sources are opened and read.

    Attributes:
        open_timeout_s: time in seconds within which a network source must deliver its first data.
        read_timeout_s: a camera or network source that delivers no frame for this many seconds counts as lost (V4L2
            uses whole seconds, rounded up). Also the longest wait for a hanging source after it was closed. If a
            server may start within a group of pictures (multicast), choose more than its key frame interval.
        reconnect: how to reconnect to a lost live source.
        image_fps: frame rate of image folders and stacks, which carry no timestamps.
        rtsp_transport: transport requested from RTSP servers; udp has lower latency but loses packets.
        remote: how sources on other machines are authenticated.
        bit_depth: number of bits used in 16-bit pixels, if fewer than 16 (cameras of 10 to 14 bit store each pixel in
            16). Ignored for 8-bit pixels. Recorded with every frame.
    """

    open_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 5.0
    reconnect: ReconnectConfig = ReconnectConfig()
    image_fps: Annotated[float, Meta(gt=0, le=10_000)] = 25.0
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    remote: RemoteConfig = RemoteConfig()
    bit_depth: Annotated[int, Meta(ge=9, le=16)] | None = None
