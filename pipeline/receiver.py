"""The downstream end of a queue, and its control messages to the upstream end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Annotated

import zmq
from msgspec import Meta, Struct
from zmq.utils.monitor import recv_monitor_message

from pipeline.messages import Key, Packet, SessionName, SourceId, key_of, session_of
from pipeline.shared_memory import SlotReader
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
    """Announces the receiver, its session and its number of credits. Sent on every connection."""

    credits: Annotated[int, Meta(ge=1, le=1024)]
    session: SessionName | None = None


class Received(Struct, frozen=True, tag="got", forbid_unknown_fields=True):
    """A message has arrived. Stages further upstream no longer need what it was made from."""

    source: SourceId
    seq: int


class Credit(Struct, frozen=True, tag="credit", forbid_unknown_fields=True):
    """A message was processed, so another may be sent. It may still have to be sent again."""

    source: SourceId
    seq: int


class Done(Struct, frozen=True, tag="done", forbid_unknown_fields=True):
    """A message is finished and will not be needed again."""

    source: SourceId
    seq: int


class Mapped(Struct, frozen=True, tag="mapped", forbid_unknown_fields=True):
    """The receiver has mapped a block of shared memory, so pictures may be sent through it."""

    block: Annotated[int, Meta(ge=0)]


class Leave(Struct, frozen=True, tag="leave", forbid_unknown_fields=True):
    """The receiver disconnects."""


class Receiver:
    """The downstream end of a queue.

    After a sender has died, a new one binds the same endpoint, and messages may arrive twice after a restart of either
    end. The receiver announces itself on every connection and passes on only messages with a higher number than the
    last one of the same source.

    Args:
        context: ZeroMQ context; inproc queues need the same one at both ends.
        endpoint: address to connect to; the sender may bind it later.
        session: messages of other sessions are rejected; None accepts the session of the first message.
        credits: number of messages that may be outstanding at once.
        configure: sets options of the socket before it connects.

    Attributes:
        duplicates: number of messages ignored because they had arrived before.
        lost: ZeroMQ event that ended the last connection or connection attempt; 0 if none has failed since.
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
        self._slot_reader = SlotReader(endpoint.startswith("ipc:"), lambda block: self._say(Mapped(block)))
        self.duplicates = self.lost = 0
        self.socket = context.socket(zmq.DEALER)
        prepare(self.socket, max(MAX_HEADER_BYTES, MAX_PICTURE_BYTES))
        configure(self.socket)
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | _LOST)
        self.socket.connect(endpoint)
        self._say(self._ready)

    def receive(self, timeout_s: float = 0.0) -> Packet | None:
        """Return the next packet, or None if none arrives within ``timeout_s``.

        Raises:
            WireError: the data received is not a valid message.
        """
        self._announce()
        if timeout_s > 0 and not self.socket.poll(int(timeout_s * 1000), zmq.POLLIN):
            return None
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            packet = decode(self._slot_reader.take([frame.buffer for frame in frames]), self._session)
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
        """Return the credit of a packet that was processed."""
        self._say(Credit(*key_of(packet.message)))

    def done(self, packet: Packet) -> None:
        """Report a packet as finished: its credit is returned, if not done yet, and it will not be sent again."""
        key = key_of(packet.message)
        self._in_hand.discard(key)
        self._say(Done(*key))

    def close(self) -> None:
        """Send ``Leave`` and close the socket."""
        if not self.socket.closed:
            with contextlib.suppress(zmq.ZMQError):
                self._say(Leave())
            self.socket.disable_monitor()
            self._monitor.close(0)
            self.socket.close(200)
            self._slot_reader.close()

    def _announce(self) -> None:
        """Announce the receiver on every new connection (ipc and tcp). The sender ignores repeated announcements."""
        while self._monitor.poll(0):
            event = int(recv_monitor_message(self._monitor)["event"])
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.lost = 0
                self._say(self._ready)
            else:
                self.lost = self.lost or event  # the first event is the cause, later ones follow from it

    def _say(self, what: Ready | Mapped | Received | Credit | Done | Leave) -> None:
        with contextlib.suppress(zmq.Again):
            self.socket.send(encode_struct(what), zmq.NOBLOCK)


def prepare(socket: zmq.Socket[bytes], max_bytes: int) -> None:
    """Set socket options that are common to both ends. They are effective only before bind or connect.

    Args:
        socket: socket of either end.
        max_bytes: a peer that announces a longer message part is disconnected before memory is allocated for it.
    """
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = 0  # outstanding messages are limited by credits, not by high-water marks
    socket.maxmsgsize = max_bytes
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
    socket.heartbeat_ttl = HEARTBEAT_TIMEOUT_MS
