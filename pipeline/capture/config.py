"""What can be set about sources."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class ReconnectConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a lost live source is looked for again.

    Attributes:
        initial_s: wait before the second attempt (the first is at once); doubles from attempt to attempt.
        max_s: longest wait between attempts.
        give_up_s: end with an error when the source stays away this long; None never gives up.
    """

    initial_s: Seconds = 0.5
    max_s: Seconds = 10.0
    give_up_s: Annotated[float, Meta(gt=0)] | None = None


class RemoteConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sources on other machines (``zmq+tcp://``) are trusted.

    Attributes:
        keys: folder of this machine's keys and of those it trusts, as ``tools.make_keys`` makes it.
        insecure: do without keys, also on a network: anybody there may read the pictures or replace them.
    """

    keys: str | None = None
    insecure: bool = False


class CaptureConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sources are opened and read.

    Attributes:
        open_timeout_s: a network source must give its first data within this time.
        read_timeout_s: a camera or network source that gives no picture for this long is taken as lost (for
            V4L2 in whole seconds, rounded up). Also the longest time that a hanging source is waited for after
            closing it. Where a server starts in the middle of a group of pictures (multicast), longer than the
            interval of its key frames.
        reconnect: what to do about a live source that is lost.
        image_fps: frame rate of folders and stacks of images, which carry no clock of their own.
        rtsp_transport: how RTSP servers send; udp has less delay but loses packets.
        remote: how sources on other machines are trusted.
        bit_depth: bits in use of pictures with 16-bit pixels, if fewer than 16 (cameras of 10 to 14 bit
            store each pixel in 16); pictures with 8-bit pixels are not concerned. It is told along with every frame.
    """

    open_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 5.0
    reconnect: ReconnectConfig = ReconnectConfig()
    image_fps: Annotated[float, Meta(gt=0, le=10_000)] = 25.0
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    remote: RemoteConfig = RemoteConfig()
    bit_depth: Annotated[int, Meta(ge=9, le=16)] | None = None
