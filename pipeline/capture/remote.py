"""Cameras of other machines: ``zmq+tcp://host:port``, offered there by ``python -m pipeline.serve``.

The other end is a credit queue with a policy of its own: it decides which pictures are dropped, and counts them.
Numbers and media time of a picture are those of the other end; its arrival is timed here, since monotonic clocks
of two machines have nothing in common.
"""

from __future__ import annotations

import ipaddress
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
from pipeline.capture.network import Target, target_of, unreachable
from pipeline.capture.picture import as_picture
from pipeline.capture.source import Grab
from pipeline.errors import ConfigError, SourceError
from pipeline.messages import EndOfSource, Frame, FrameHeader, Packet
from pipeline.receiver import Receiver
from pipeline.wire import MAX_ERROR, WireError

log = logging.getLogger(__name__)
CREDITS = 2
MAX_UNREAD = 16
"""Parts that a peer which sends without credits may pile up here."""
_SLICE_S = 0.1
_MAX_FRAME = 1 << 53
_MAX_PTS_S = 1e9


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, told from its name alone: what a name resolves to may change."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class RemoteCamera:
    """Where a remote camera is, whom to trust there, and what has come from it so far.

    Args:
        url: ``zmq+tcp://host:port``, with ``?server=NAME`` where several servers are trusted.
        config: time-outs and keys.

    Raises:
        SourceError: no valid address.
        ConfigError: keys are missing or cannot be used.
    """

    def __init__(self, url: str, config: CaptureConfig) -> None:
        self.name = redact(url)
        self.config = config
        self.target = target_of(url, self.name)
        if "@" in url:
            raise SourceError(f"{self.name}: takes no user and password, but keys (capture.remote.keys)")
        query = re.fullmatch(r"/?(?:\?server=([\w-]+))?", self.target.path)
        if query is None:
            raise SourceError(f"{self.name}: expected zmq+tcp://host:port or zmq+tcp://host:port?server=NAME")
        self.own: keys.Identity | None = None
        self.server = query[1] or ""
        self.timeline = Timeline()
        if config.remote.keys is not None:
            self._trust(Path(config.remote.keys))
        elif not config.remote.insecure and not is_loopback(self.target.host):
            raise ConfigError(
                f"{self.name}: off this machine a camera needs keys: python -m tools.make_keys keys --name NAME, "
                "then --set capture.remote.keys=keys (or capture.remote.insecure=true, open to anybody)"
            )

    def connect(self) -> RemoteFeed:
        """Make a connection.

        Raises:
            SourceError: it cannot be made, or no picture comes.
        """
        return RemoteFeed(self)

    def secure(self, socket: zmq.Socket[bytes]) -> None:
        """Options of the socket of one connection."""
        socket.reconnect_ivl = -1
        socket.rcvhwm = MAX_UNREAD
        socket.ipv6 = True  # connects by IPv4 too
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
                raise ConfigError(f"{self.name}: which of {', '.join(known)} is it? Say so with ?server=NAME")
            raise ConfigError(f"{self.name}: no public key of a camera host in {place}")
        self._server_key = known[self.server]


class RemoteFeed:
    """One connection to a remote camera, with its first picture.

    Args:
        camera: what to connect to.

    Raises:
        SourceError: one line that names the camera and what is wrong with it.
    """

    frames, notice = 0, ""

    def __init__(self, camera: RemoteCamera) -> None:
        self._camera = camera
        endpoint = f"tcp://{_host(camera.target, camera.name)}:{camera.target.port}"
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
        """Wait for the next picture; None when the connection is lost, silent for too long, or not to be trusted.

        Raises:
            EndOfMedium: the source is at its end over there.
            SourceError: it failed over there, or its pictures cannot be used.
        """
        try:
            said, self._first = self._first or self._next(self._camera.config.read_timeout_s), None
        except WireError as error:
            log.warning("%s: malformed message: %s", self._camera.name, _shown(str(error)))
            return None
        if not isinstance(said, EndOfSource):
            return said
        self.close()  # now, so that the other end hears that its last word has come
        if said.reason == "finished":
            raise EndOfMedium
        if said.reason == "failed":
            raise SourceError(f"{self._camera.name}: {_end_reason(said)}")
        return None  # whoever stops a server may start it again

    def close(self) -> None:
        """Disconnect. May be called twice."""
        self._receiver.close()
        self._context.term()

    def _next(self, timeout_s: float) -> Grab | EndOfSource | None:
        """The next picture, or the end; None when nothing comes in time or the connection is lost."""
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
        """A message as a picture of this end; None if it has come before."""
        if not isinstance(packet.message, Frame) or packet.picture is None:
            raise WireError(f"{type(packet.message).__name__} instead of a frame")
        header, now_ns = packet.message.header, time.monotonic_ns()
        place = self._camera.timeline.place(header, now_ns)
        if place is None:
            return None
        picture = as_picture(packet.picture, self._camera.name)
        return Grab(picture, *place, now_ns, header.capture_wall_ns, header.bit_depth)

    def _diagnose_silence(self) -> str:
        """What is wrong, as far as the connection tells."""
        camera, wait_s = self._camera, self._camera.config.open_timeout_s
        match self._receiver.lost:
            case 0:
                return f"no picture came within {wait_s:g} s (open_timeout_s)"
            case zmq.EVENT_CLOSED:
                return unreachable(camera.target, wait_s) or "cannot be reached"
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH if camera.own is not None:
                return f"does not know this machine: copy {camera.own.name}.key to its folder {keys.TRUSTED}"
            case _ if camera.own is not None:
                return f"broke off: it is not the owner of {camera.server}.key, or uses no keys"
            case _:
                return "broke off: it wants keys (capture.remote.keys), or is no camera host"


class Timeline:
    """Numbers and media time of a remote source: those of the other end, which go on when that begins anew."""

    def __init__(self) -> None:
        self._session, self._source = "", ""
        self._seq, self._frame, self._pts, self._at_ns = -1, -1, 0.0, 0
        self._frame_shift, self._pts_shift = 0, 0.0

    def place(self, header: FrameHeader, now_ns: int) -> tuple[int, float] | None:
        """Frame number and media time of a picture that has just come; None if it has come before.

        Args:
            header: as sent.
            now_ns: monotonic time of its arrival.

        Raises:
            WireError: another source, or numbers that run backwards or are out of all proportion.
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


def _host(target: Target, name: str) -> str:
    """Address of the host, by IPv4 where it has both: ZeroMQ would try those of IPv6 alone."""
    try:
        found = sockets.getaddrinfo(target.host, target.port, type=sockets.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceError(f"{name}: cannot resolve host {target.host}") from None
    family, *_, address = min(found, key=lambda one: one[0] != sockets.AF_INET)
    return str(address[0]) if family == sockets.AF_INET else f"[{address[0]}]"


def _end_reason(end: EndOfSource) -> str:
    if end.reason == "stopped":
        return "is being stopped"
    return f"over there: {_shown(end.error)}"


def _shown(text: str) -> str:
    """Foreign text for people: short, without credentials, nothing that a terminal would obey."""
    short = " ".join(redact(text[:MAX_ERROR]).split())
    return "".join(sign if sign.isprintable() else "?" for sign in short)
