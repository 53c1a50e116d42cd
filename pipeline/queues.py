"""Queues with credits: the one place where flow is controlled and frames are dropped.

A queue joins one sender (ROUTER, binds) to one receiver (DEALER, connects) over inproc, ipc or tcp; the
endpoint alone decides which. The receiver grants credits; the sender sends only against a credit, so it
knows exactly which frames are under way, and keeps the others under the policy of their source:

``lossless``  wait for a credit;
``latest``    keep only the newest frame while waiting;
``bounded``   keep frames while they are younger than the staleness budget.

A credit comes back when the receiver has *finished* with a message. The end of a source is never dropped.
Neither side is thread safe; each belongs to the thread that uses it.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec
import zmq
from msgspec import Struct
from zmq.utils.monitor import recv_monitor_message

from pipeline.account import Account, Ledger
from pipeline.messages import EndOfSource, Packet, source_of
from pipeline.wire import MAX_HEADER_BYTES, MAX_PICTURE_BYTES, WireError, decode, decode_struct, encode, encode_struct

MAX_WAITING = 256
HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 5000


class Policy(StrEnum):
    """What a sender does with a frame for which there is no credit."""

    LOSSLESS = "lossless"
    LATEST = "latest"
    BOUNDED = "bounded"


class Ready(Struct, frozen=True, tag="ready", forbid_unknown_fields=True):
    """Receiver to sender: a new receiver with this many credits."""

    receiver: str
    credits: int


class Done(Struct, frozen=True, tag="done", forbid_unknown_fields=True):
    """Receiver to sender: finished with this many more messages, in the order they were sent."""

    receiver: str
    count: int


class Leave(Struct, frozen=True, tag="leave", forbid_unknown_fields=True):
    """Receiver to sender: going away; whatever is not done by now is lost."""

    receiver: str


_control: msgspec.msgpack.Decoder[Ready | Done | Leave] = msgspec.msgpack.Decoder(Ready | Done | Leave)


class _Waiting(NamedTuple):
    packet: Packet
    born_ns: int


class Sender:
    """The upstream end of a queue.

    Args:
        context: ZeroMQ context; inproc queues need the same one at both ends.
        endpoint: address to bind.
        policies: policy per source; sources not named are lossless.
        staleness_s: budget of the ``bounded`` policy, seconds since capture.
        clock: monotonic ns.

    Attributes:
        rejected: control messages that made no sense.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        *,
        policies: Mapping[str, Policy] | None = None,
        staleness_s: float = 0.5,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._policies = dict(policies or {})
        self._staleness_ns = int(staleness_s * 1e9)
        self._clock = clock
        self._ledgers: defaultdict[str, Ledger] = defaultdict(Ledger)
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._under_way: deque[Packet] = deque()
        self._identity = b""
        self._receiver = ""
        self._credits = 0
        self._peers: set[int] = set()
        self.rejected = 0

        self.socket = context.socket(zmq.ROUTER)
        _prepare(self.socket)
        self.socket.router_mandatory = True
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self.socket.bind(endpoint)
        self.endpoint = self.socket.get_string(zmq.LAST_ENDPOINT)

    def offer(self, packet: Packet) -> None:
        """Take a packet under its source's policy. Never waits."""
        source = source_of(packet.message)
        queue = self._waiting.setdefault(source, deque())
        if isinstance(packet.message, EndOfSource):
            queue.append(_Waiting(packet, self._clock()))
        else:
            ledger = self._ledgers[source]
            ledger.enter()
            policy = self._policies.get(source, Policy.LOSSLESS)
            while policy is Policy.LATEST and queue:
                queue.popleft()
                ledger.drop("superseded")
            if policy is Policy.BOUNDED and len(queue) == MAX_WAITING:
                queue.popleft()
                ledger.drop("overflow")
            queue.append(_Waiting(packet, packet.message.header.capture_mono_ns))
        self._dispatch()

    def waiting(self, source: str | None = None) -> int:
        """Messages that wait for a credit, of one source or of all."""
        if source is not None:
            return len(self._waiting.get(source, ()))
        return sum(map(len, self._waiting.values()))

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not self._under_way and not self.waiting()

    def pump(self, timeout_s: float = 0.0) -> None:
        """Serve the receiver: take credits back and send what they allow.

        Waits until the receiver says something, at most ``timeout_s``.
        """
        if timeout_s > 0:
            self.socket.poll(int(timeout_s * 1000), zmq.POLLIN)
        before, deserted = self._receiver, self._deserted()
        while True:
            try:
                identity, *body = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                if len(body) != 1:
                    raise WireError("a control message has one part")
                self._control(identity, decode_struct(body[0], _control))
            except WireError:
                self.rejected += 1
        # Only now, since the last words of a receiver that is gone still count.
        if deserted and self._receiver == before:
            self._forget_receiver()
        self._dispatch()

    def account(self, source: str) -> Account:
        """The loss account of one source at this queue."""
        return self._ledgers[source].account()

    def accounts(self) -> dict[str, Account]:
        """The loss accounts of all sources seen."""
        return {source: ledger.account() for source, ledger in self._ledgers.items()}

    def close(self) -> None:
        """Drop the socket. What waits or is under way counts as lost with cause ``closed``."""
        if self.socket.closed:
            return
        self._lose_under_way("closed")
        for source, queue in self._waiting.items():
            for waiting in queue:
                if not isinstance(waiting.packet.message, EndOfSource):
                    self._ledgers[source].lose("closed")
            queue.clear()
        self.socket.disable_monitor()
        self._monitor.close(0)
        self.socket.close(0)

    def _control(self, identity: bytes, said: Ready | Done | Leave) -> None:
        if isinstance(said, Ready):
            if not 0 < said.credits <= 1024:
                raise WireError(f"{said.credits} credits")
            if said.receiver != self._receiver:
                self._forget_receiver()
                self._identity, self._receiver, self._credits = identity, said.receiver, said.credits
            return
        if identity != self._identity or said.receiver != self._receiver:
            raise WireError("control message of a stranger")
        if isinstance(said, Leave):
            self._forget_receiver()
            return
        if not 0 < said.count <= len(self._under_way):
            raise WireError(f"{said.count} messages done, {len(self._under_way)} under way")
        for _ in range(said.count):
            message = self._under_way.popleft().message
            if not isinstance(message, EndOfSource):
                self._ledgers[message.header.source].deliver()
        self._credits += said.count

    def _dispatch(self) -> None:
        """Send against credits, sources in turn; drop what has grown stale."""
        self._drop_stale()
        while self._credits and (source := next((s for s, q in self._waiting.items() if q), None)) is not None:
            queue = self._waiting.pop(source)
            packet = queue[0].packet
            self._waiting[source] = queue
            try:
                self.socket.send_multipart([self._identity, *encode(packet)], zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                self._forget_receiver()
                return
            queue.popleft()
            self._under_way.append(packet)
            self._credits -= 1

    def _drop_stale(self) -> None:
        oldest = self._clock() - self._staleness_ns
        for source, queue in self._waiting.items():
            if self._policies.get(source) is not Policy.BOUNDED:
                continue
            while queue and queue[0].born_ns < oldest and not isinstance(queue[0].packet.message, EndOfSource):
                queue.popleft()
                self._ledgers[source].drop("stale")

    def _deserted(self) -> bool:
        """Whether the last connection has just closed: how a vanished receiver is known (ipc and tcp)."""
        closed = False
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._peers.add(event["value"])
            elif event["event"] == zmq.EVENT_DISCONNECTED:
                self._peers.discard(event["value"])
                closed = True
        return closed and not self._peers

    def _forget_receiver(self) -> None:
        self._lose_under_way("receiver gone")
        self._identity, self._receiver, self._credits = b"", "", 0

    def _lose_under_way(self, cause: str) -> None:
        ends = [packet for packet in self._under_way if isinstance(packet.message, EndOfSource)]
        for packet in self._under_way:
            if not isinstance(packet.message, EndOfSource):
                self._ledgers[packet.message.header.source].lose(cause)
        self._under_way.clear()
        for packet in reversed(ends):
            self._waiting.setdefault(source_of(packet.message), deque()).appendleft(_Waiting(packet, self._clock()))


class Receiver:
    """The downstream end of a queue.

    Args:
        context: ZeroMQ context; inproc queues need the same one at both ends.
        endpoint: address to connect to; the sender may bind it later.
        session: messages of other sessions are refused.
        credits: messages that may be under way at once.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, session: str, credits: int = 2) -> None:
        self._session = session
        self._name = uuid.uuid4().hex
        self.socket = context.socket(zmq.DEALER)
        _prepare(self.socket)
        self.socket.connect(endpoint)
        self._say(Ready(self._name, credits))

    def receive(self, timeout_s: float = 0.0) -> Packet | None:
        """The next packet, or None if none comes within ``timeout_s``.

        Raises:
            WireError: what came is no valid message.
        """
        if timeout_s > 0 and not self.socket.poll(int(timeout_s * 1000), zmq.POLLIN):
            return None
        try:
            frames = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        return decode([frame.buffer for frame in frames], self._session)

    def done(self, count: int = 1) -> None:
        """Give back the credits of the ``count`` oldest messages not yet done."""
        self._say(Done(self._name, count))

    def close(self) -> None:
        """Say good-bye and drop the socket."""
        if not self.socket.closed:
            with contextlib.suppress(zmq.ZMQError):
                self._say(Leave(self._name))
            self.socket.close(200)

    def _say(self, what: Ready | Done | Leave) -> None:
        with contextlib.suppress(zmq.Again):
            self.socket.send(encode_struct(what), zmq.NOBLOCK)


def _prepare(socket: zmq.Socket[bytes]) -> None:
    """Options that count only when set before bind or connect."""
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = 0  # credits bound what is under way, not high-water marks
    socket.maxmsgsize = max(MAX_HEADER_BYTES, MAX_PICTURE_BYTES)
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
    socket.heartbeat_ttl = HEARTBEAT_TIMEOUT_MS
