"""Cameras on other machines: ``zmq+tcp://host:port``, served there by ``python -m pipeline.serve``.

The remote end is a credit-based queue with its own policy: it decides which frames are dropped, and counts them.
Frame numbers and media time are taken from the remote end. Arrival is timestamped locally, because the monotonic
clocks of two machines are unrelated.
"""

from __future__ import annotations

import logging
import re
import socket as sockets
import time
from pathlib import Path

import zmq

from pipeline import keys
from pipeline.capture.address import redact
from pipeline.capture.config import CaptureConfig
from pipeline.capture.live import EndOfMedium
from pipeline.capture.network import UrlParts, split_url, unreachable
from pipeline.capture.picture import as_picture
from pipeline.capture.source import Grab
from pipeline.errors import ConfigError, SourceError
from pipeline.loopback import is_loopback
from pipeline.messages import EndOfSource, Frame, FrameHeader, Packet
from pipeline.receiver import Receiver
from pipeline.wire import MAX_ERROR, WireError

log = logging.getLogger(__name__)
CREDITS = 2
MAX_UNREAD = 16
"""Limit on the message parts that a peer ignoring its credits can queue up here."""
_SLICE_S = 0.1
_MAX_FRAME = 1 << 53
_MAX_PTS_S = 1e9


class RemoteCamera:
    """Address and keys of a remote camera, and the state kept across connections to it.

    Args:
        url: ``zmq+tcp://host:port``, with ``?server=NAME`` if several servers are trusted.
        config: timeouts and keys.

    Raises:
        SourceError: the address is invalid.
        ConfigError: keys are missing or unusable.
    """

    def __init__(self, url: str, config: CaptureConfig) -> None:
        self.name = redact(url)
        self.config = config
        self.url_parts = split_url(url, self.name)
        if "@" in url:
            raise SourceError(f"{self.name}: user and password are not supported, use keys (capture.remote.keys)")
        query = re.fullmatch(r"/?(?:\?server=([\w-]+))?", self.url_parts.path)
        if query is None:
            raise SourceError(f"{self.name}: expected zmq+tcp://host:port or zmq+tcp://host:port?server=NAME")
        self.own: keys.Identity | None = None
        self.server = query[1] or ""
        self.timeline = Timeline()
        if config.remote.keys is not None:
            self._trust(Path(config.remote.keys))
        elif not config.remote.insecure and not is_loopback(self.url_parts.host):
            raise ConfigError(
                f"{self.name}: a camera on another machine needs keys: python -m tools.make_keys keys --name NAME, "
                "then --set capture.remote.keys=keys (or capture.remote.insecure=true, which lets anybody in)"
            )

    def connect(self) -> RemoteFeed:
        """Open a connection.

        Raises:
            SourceError: the connection failed, or no frame arrived.
        """
        return RemoteFeed(self)

    def secure(self, socket: zmq.Socket[bytes]) -> None:
        """Set the options, including the keys, of the socket of a connection."""
        socket.reconnect_ivl = -1
        socket.rcvhwm = MAX_UNREAD
        socket.ipv6 = True  # IPv4 still works
        if self.own is not None:
            keys.secure_client(socket, self.own, self._server_key)

    def _trust(self, folder: Path) -> None:
        self.own, known = keys.identity(folder), keys.trusted(folder)
        if not self.server and len(known) == 1:
            self.server = next(iter(known))
        if self.server not in known:
            place = folder / keys.TRUSTED
            if self.server:
                raise ConfigError(f"{self.name}: no public key {place / self.server}.key")
            if known:
                raise ConfigError(
                    f"{self.name}: several servers are trusted ({', '.join(known)}), select one with ?server=NAME"
                )
            raise ConfigError(f"{self.name}: no public key of a camera host in {place}")
        self._server_key = known[self.server]


class RemoteFeed:
    """One connection to a remote camera, including its first frame.

    Args:
        camera: remote camera to connect to.

    Raises:
        SourceError: one line that names the camera and what is wrong with it.
    """

    frames, notice = 0, ""

    def __init__(self, camera: RemoteCamera) -> None:
        self._camera = camera
        endpoint = f"tcp://{_host(camera.url_parts, camera.name)}:{camera.url_parts.port}"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._receiver = Receiver(self._context, endpoint, None, CREDITS, camera.secure)
        try:
            self._first = self._next(camera.config.open_timeout_s)
            if self._first is None:
                raise SourceError(f"{camera.name}: {self._diagnose_silence()}")
            if isinstance(self._first, EndOfSource) and self._first.reason != "finished":
                raise SourceError(f"{camera.name}: {_end_reason(self._first)}")
        except WireError as error:
            self.close()
            raise SourceError(f"{camera.name}: malformed message: {_shown(str(error))}") from None
        except BaseException:
            self.close()
            raise

    def read(self) -> Grab | None:
        """Wait for the next frame.

        Returns:
            The frame; None if the connection is lost, silent for too long, or delivers malformed messages.

        Raises:
            EndOfMedium: the remote source has ended.
            SourceError: the remote source failed, or its frames cannot be used.
        """
        try:
            received, self._first = self._first or self._next(self._camera.config.read_timeout_s), None
        except WireError as error:
            log.warning("%s: malformed message: %s", self._camera.name, _shown(str(error)))
            return None
        if not isinstance(received, EndOfSource):
            return received
        self.close()  # immediately, so that the remote end knows its last message was received
        if received.reason == "finished":
            raise EndOfMedium
        if received.reason == "failed":
            raise SourceError(f"{self._camera.name}: {_end_reason(received)}")
        return None  # a stopped server may be started again

    def close(self) -> None:
        """Disconnect. May be called repeatedly."""
        self._receiver.close()
        self._context.term()

    def _next(self, timeout_s: float) -> Grab | EndOfSource | None:
        """Return the next frame or the end of the source; None on a timeout or if the connection is lost."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            packet = self._receiver.receive(min(left_s, _SLICE_S))
            if packet is not None:
                self._receiver.done(packet)
                if isinstance(packet.message, EndOfSource):
                    return packet.message
                grab = self._grab(packet)
                if grab is not None:
                    return grab
            elif self._receiver.lost:
                break
        return None

    def _grab(self, packet: Packet) -> Grab | None:
        """Convert a message to a local frame; None if it is a duplicate."""
        if not isinstance(packet.message, Frame) or packet.picture is None:
            raise WireError(f"{type(packet.message).__name__} instead of a frame")
        header, now_ns = packet.message.header, time.monotonic_ns()
        place = self._camera.timeline.place(header, now_ns)
        if place is None:
            return None
        picture = as_picture(packet.picture, self._camera.name)
        return Grab(picture, *place, now_ns, header.capture_wall_ns, header.bit_depth)

    def _diagnose_silence(self) -> str:
        """Return why no frame arrived, as far as the connection tells."""
        camera, wait_s = self._camera, self._camera.config.open_timeout_s
        match self._receiver.lost:
            case 0:
                return f"no frame arrived within {wait_s:g} s (open_timeout_s)"
            case zmq.EVENT_CLOSED:
                return unreachable(camera.url_parts, wait_s) or "cannot be reached"
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH if camera.own is not None:
                return f"does not know this machine: copy {camera.own.name}.key to its folder {keys.TRUSTED}"
            case _ if camera.own is not None:
                return f"connection closed: the server does not own {camera.server}.key, or uses no keys"
            case _:
                return "connection closed: the server requires keys (capture.remote.keys), or is not a camera host"


class Timeline:
    """Maps frame numbers and media time of the remote end to ones that continue when the remote run restarts."""

    def __init__(self) -> None:
        self._session, self._source = "", ""
        self._seq, self._frame, self._pts, self._at_ns = -1, -1, 0.0, 0
        self._frame_shift, self._pts_shift = 0, 0.0

    def place(self, header: FrameHeader, now_ns: int) -> tuple[int, float] | None:
        """Return frame number and media time of a frame that just arrived; None if it is a duplicate.

        Args:
            header: header as sent.
            now_ns: monotonic arrival time in ns.

        Raises:
            WireError: the frame is from another source, or its numbers run backwards or are out of range.
        """
        if header.frame > _MAX_FRAME or abs(header.pts) > _MAX_PTS_S:
            raise WireError(f"frame {header.frame} at {header.pts} s is out of range")
        if header.session != self._session:
            if self._session:
                away_s = (now_ns - self._at_ns) / 1e9
                self._frame_shift = self._frame + 1 - header.frame
                self._pts_shift = self._pts + away_s - header.pts
            self._session, self._source, self._seq = header.session, header.source, -1
        if header.source != self._source:
            raise WireError(f"frame of source {header.source!r} after those of {self._source!r}")
        if header.seq <= self._seq:
            return None
        frame, pts = header.frame + self._frame_shift, header.pts + self._pts_shift
        if frame <= self._frame:
            raise WireError(f"frame {header.frame} after frame {self._frame - self._frame_shift}")
        self._seq, self._frame, self._pts, self._at_ns = header.seq, frame, pts, now_ns
        return frame, pts


def _host(parts: UrlParts, name: str) -> str:
    """Resolve the host, preferring IPv4 if it has both; ZeroMQ would try only the IPv6 addresses."""
    try:
        found = sockets.getaddrinfo(parts.host, parts.port, type=sockets.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceError(f"{name}: cannot resolve host {parts.host}") from None
    family, *_, address = min(found, key=lambda one: one[0] != sockets.AF_INET)
    return str(address[0]) if family == sockets.AF_INET else f"[{address[0]}]"


def _end_reason(end: EndOfSource) -> str:
    if end.reason == "stopped":
        return "is being stopped"
    return f"remote error: {_shown(end.error)}"


def _shown(text: str) -> str:
    """Sanitise foreign text for display: truncated, credentials masked, control characters replaced."""
    short = " ".join(redact(text[:MAX_ERROR]).split())
    return "".join(sign if sign.isprintable() else "?" for sign in short)
