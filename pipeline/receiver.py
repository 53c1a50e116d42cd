"""The downstream end of a queue, and what it says to the upstream end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Annotated

import zmq
from msgspec import Meta, Struct
from zmq.utils.monitor import recv_monitor_message

from pipeline.messages import Key, Packet, SessionName, SourceId, key_of, session_of
from pipeline.slots import Window
from pipeline.wire import MAX_HEADER_BYTES, MAX_PICTURE_BYTES, decode, encode_struct

HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 5000
_LOST = (
    zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class Ready(Struct, frozen=True, tag="ready", forbid_unknown_fields=True):
    """I am here, of this run, and take this many messages at once. Said on every connection."""

    credits: Annotated[int, Meta(ge=1, le=1024)]
    session: SessionName | None = None


class Received(Struct, frozen=True, tag="got", forbid_unknown_fields=True):
    """This message is in my hands; what went before it may be forgotten further up."""

    source: SourceId
    seq: int


class Credit(Struct, frozen=True, tag="credit", forbid_unknown_fields=True):
    """I have worked this message off: send another. It may have to come again, though."""

    source: SourceId
    seq: int


class Done(Struct, frozen=True, tag="done", forbid_unknown_fields=True):
    """I have finished with this message, and nobody will need it again."""

    source: SourceId
    seq: int


class Mapped(Struct, frozen=True, tag="mapped", forbid_unknown_fields=True):
    """I can see this block of your memory: pictures may lie there."""

    block: Annotated[int, Meta(ge=0)]


class Leave(Struct, frozen=True, tag="leave", forbid_unknown_fields=True):
    """I am going away."""


class Receiver:
    """The downstream end of a queue.

    A sender that died is followed by another at the same endpoint, and a message may come a second time after
    either end was restarted. The receiver introduces itself on every connection and passes on, of each
    source, only what comes after the last message passed on.

    Args:
        context: ZeroMQ context; inproc queues need the same one at both ends.
        endpoint: address to connect to; the sender may bind it later.
        session: messages of other sessions are refused; None takes the session of the first message.
        credits: messages that may be under way at once.
        configure: sets options of the socket before it connects.

    Attributes:
        duplicates: messages not passed on because they had come before.
        lost: ZeroMQ event that ended the last connection, or the attempt to make one; 0 while there is hope.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        session: str | None,
        credits: int = 2,
        configure: Callable[[zmq.Socket[bytes]], None] = lambda socket: None,
    ) -> None:
        self._session = session
        self._ready = Ready(credits, session)
        self._last: dict[str, int] = {}
        self._in_hand: set[Key] = set()
        self._window = Window(lambda block: self._say(Mapped(block)))
        self.duplicates = self.lost = 0
        self.socket = context.socket(zmq.DEALER)
        prepare(self.socket, max(MAX_HEADER_BYTES, MAX_PICTURE_BYTES))
        configure(self.socket)
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | _LOST)
        self.socket.connect(endpoint)
        self._say(self._ready)

    def receive(self, timeout_s: float = 0.0) -> Packet | None:
        """The next packet, or None if none comes within ``timeout_s``.

        Raises:
            WireError: what came is no valid message.
        """
        self._announce()
        if timeout_s > 0 and not self.socket.poll(int(timeout_s * 1000), zmq.POLLIN):
            return None
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            packet = decode(self._window.take([frame.buffer for frame in frames]), self._session)
            self._session = session_of(packet.message)
            source, seq = key = key_of(packet.message)
            if seq > self._last.get(source, -1):
                self._last[source] = seq
                self._in_hand.add(key)
                self._say(Received(*key))
                return packet
            self.duplicates += 1
            self._say(Received(*key) if key in self._in_hand else Done(*key))

    def release(self, packet: Packet) -> None:
        """Worked off: its credit goes back."""
        self._say(Credit(*key_of(packet.message)))

    def done(self, packet: Packet) -> None:
        """Finished with for good: its credit goes back, if it has not yet, and it will not come again."""
        key = key_of(packet.message)
        self._in_hand.discard(key)
        self._say(Done(*key))

    def close(self) -> None:
        """Say good-bye and drop the socket."""
        if not self.socket.closed:
            with contextlib.suppress(zmq.ZMQError):
                self._say(Leave())
            self.socket.disable_monitor()
            self._monitor.close(0)
            self.socket.close(200)
            self._window.close()

    def _announce(self) -> None:
        """Introduce oneself on a new connection (ipc and tcp); heard twice on the same one, it counts once."""
        while self._monitor.poll(0):
            event = int(recv_monitor_message(self._monitor)["event"])
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.lost = 0
                self._say(self._ready)
            else:
                self.lost = self.lost or event  # the first tells why, the others follow from it

    def _say(self, what: Ready | Mapped | Received | Credit | Done | Leave) -> None:
        with contextlib.suppress(zmq.Again):
            self.socket.send(encode_struct(what), zmq.NOBLOCK)


def prepare(socket: zmq.Socket[bytes], max_bytes: int) -> None:
    """Options of both ends that count only when set before bind or connect.

    Args:
        socket: of either end.
        max_bytes: a peer that announces a longer part is disconnected before any room is made for it.
    """
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = 0  # credits bound what is under way, not high-water marks
    socket.maxmsgsize = max_bytes
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
    socket.heartbeat_ttl = HEARTBEAT_TIMEOUT_MS
