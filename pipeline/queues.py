"""Queues with credit-based flow control, the only place where frames are dropped on purpose.

A queue connects one sender (ROUTER, binds) to one receiver (DEALER, connects) over inproc, ipc or tcp, depending on the
endpoint only. The receiver grants credits and the sender sends only against a credit, so it knows exactly which frames
are outstanding. All others wait, subject to the drop policy of their source:

``lossless``  wait for a credit;
``latest``    keep only the newest frame while waiting;
``bounded``   drop frames that would exceed the staleness budget before the stage behind the receiver gets them,
              estimated from recent transit times; the newest frame is kept as long as it is within the budget now.

A credit is returned when the receiver has *processed* a message. The end of a source is never dropped.

The sender keeps a message until the result of the receiver has arrived at the stage behind it, so that nothing is lost
if the receiver dies. Frames of a lossless source then return to the front of the queue and are sent to the next
receiver. A frame that was outstanding and not processed at two deaths may be their cause and is given up as lost. For
other sources, all outstanding frames are lost.

Neither end is thread safe; each must be used from one thread.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec
import zmq

from pipeline.accounting import CLOSED, CRASH, Account, Ledger
from pipeline.connections import Connections
from pipeline.messages import EndOfSource, Key, Packet, key_of, source_of
from pipeline.receiver import Credit, Done, Leave, Mapped, Ready, Received, prepare
from pipeline.shared_memory import LEAST_BYTES, SlotPool
from pipeline.wire import WireError, decode_struct, encode

log = logging.getLogger(__name__)
MAX_WAITING = 256  # frames of one source under the bounded policy
MAX_CRASHES = 2  # deaths of receivers after which a frame is given up
_TRANSIT_SAMPLES = 5  # the transit time is the median over this many frames, robust against a single delay downstream
MAX_CONTROL_BYTES = 1024


class Policy(StrEnum):
    """Drop policy: what a sender does with a frame for which there is no credit."""

    LOSSLESS = "lossless"
    LATEST = "latest"
    BOUNDED = "bounded"


Control = Ready | Mapped | Received | Credit | Done | Leave
_control: msgspec.msgpack.Decoder[Control] = msgspec.msgpack.Decoder(Control)


class _Item(NamedTuple):
    """A waiting or outstanding packet: its capture time, send time and number of receiver deaths."""

    packet: Packet
    born_ns: int
    sent_ns: int = 0
    crashes: int = 0

    @property
    def is_end(self) -> bool:
        return isinstance(self.packet.message, EndOfSource)


class Sender:
    """The upstream end of a queue.

    Args:
        context: ZeroMQ context; inproc queues need the same one at both ends.
        endpoint: address to bind.
        policies: drop policy by source; sources not listed are lossless.
        staleness_s: budget of the ``bounded`` policy: seconds from capture until the stage behind the receiver gets a
            frame.
        clock: monotonic clock in ns.
        ledgers: ledgers of sources whose counts must survive this process.
        session: session that receivers must name; None accepts any, since receivers on other machines do not know it.
        configure: sets options of the socket before it is bound.
        refusal: message sent to a second receiver while the first is connected (ipc and tcp); None lets the second
            replace the first.
        slot_bytes: size from which pictures are passed to another process of this machine in shared memory.
        per_source: number of credits that messages of one source may hold at once; None means all.

    Attributes:
        rejected: number of invalid control messages.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        *,
        policies: Mapping[str, Policy] | None = None,
        staleness_s: float = 0.5,
        clock: Callable[[], int] = time.monotonic_ns,
        ledgers: Mapping[str, Ledger] | None = None,
        session: str | None = None,
        configure: Callable[[zmq.Socket[bytes]], None] = lambda socket: None,
        refusal: Packet | None = None,
        slot_bytes: int = LEAST_BYTES,
        per_source: int | None = None,
    ) -> None:
        self._session, self._refusal, self._per_source = session, refusal, per_source
        self._policies = dict(policies or {})
        self._staleness_ns = int(staleness_s * 1e9)
        self._clock = clock
        self._ledgers: defaultdict[str, Ledger] = defaultdict(Ledger, ledgers or {})
        # A message waits until it is sent and is outstanding until ``Done``. Outstanding messages that were processed
        # (``Credit``) hold no credit. Until the receiver confirms a message (``Received``), it would be lost with this
        # process.
        self._waiting: dict[str, deque[_Item]] = {}
        self._outstanding: dict[Key, _Item] = {}
        self._processed: set[Key] = set()
        self._unreceived: set[Key] = set()
        self._identity = b""
        self._credits = 0
        self._slot_pool = SlotPool(endpoint.startswith("ipc:"), slot_bytes)
        self._transit_times_ns: deque[int] = deque([0], maxlen=_TRANSIT_SAMPLES)
        self.rejected = 0

        self.socket = context.socket(zmq.ROUTER)
        prepare(self.socket, MAX_CONTROL_BYTES)
        self.socket.router_mandatory = True
        configure(self.socket)
        self._connections = Connections(self.socket)
        self.socket.bind(endpoint)
        self.endpoint = self.socket.get_string(zmq.LAST_ENDPOINT)

    def offer(self, packet: Packet) -> None:
        """Add a packet to the queue, subject to the policy of its source. Does not block."""
        source = source_of(packet.message)
        queue = self._waiting.setdefault(source, deque())
        self._unreceived.add(key_of(packet.message))
        if isinstance(packet.message, EndOfSource):
            queue.append(_Item(packet, self._clock()))
        else:
            ledger = self._ledgers[source]
            ledger.enter()
            policy = self._policies.get(source, Policy.LOSSLESS)
            while policy is Policy.LATEST and queue:
                self._drop(queue.popleft(), "superseded")
            if policy is Policy.BOUNDED and len(queue) == MAX_WAITING:
                self._drop(queue.popleft(), "overflow")
            queue.append(_Item(packet, packet.message.header.capture_mono_ns))
        self._dispatch()

    def waiting(self, source: str | None = None) -> int:
        """Return the number of messages that wait for a credit, of one source or of all."""
        if source is not None:
            return len(self._waiting.get(source, ()))
        return sum(map(len, self._waiting.values()))

    @property
    def idle(self) -> bool:
        """Whether no message is waiting or outstanding."""
        return not self._outstanding and not self.waiting()

    @property
    def has_receiver(self) -> bool:
        """Whether a receiver is connected, as far as is known."""
        return bool(self._identity)

    def handed_over(self, packet: Packet) -> bool:
        """Whether this process is no longer needed for a packet: the receiver has it, or it was dropped or lost."""
        return key_of(packet.message) not in self._unreceived

    def pump(self, timeout_s: float = 0.0) -> None:
        """Read control messages of the receiver and send what its credits allow.

        Waits for a control message for at most ``timeout_s``.
        """
        if timeout_s > 0:
            self.socket.poll(int(timeout_s * 1000), zmq.POLLIN)
        before, receiver_vanished = self._identity, self._connections.receiver_vanished(alone=self._refusal is not None)
        while True:
            try:
                identity, *body = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            try:
                if len(body) != 1:
                    raise WireError("a control message has one part")
                self._control(identity.bytes, decode_struct(body[0].buffer, _control), body[0])
            except WireError:
                self.rejected += 1
        # Only now, since the last control messages of a vanished receiver still count.
        if receiver_vanished and self._identity == before:
            self._forget_receiver()
        self._dispatch()

    def account(self, source: str) -> Account:
        """Return the frame account of one source at this queue."""
        return self._ledgers[source].account()

    def accounts(self) -> dict[str, Account]:
        """Return the frame accounts of all sources seen so far."""
        return {source: ledger.account() for source, ledger in self._ledgers.items()}

    def close(self) -> None:
        """Close the socket. Waiting and outstanding frames count as lost with cause ``closed``."""
        if self.socket.closed:
            return
        for item in (*self._outstanding.values(), *(item for queue in self._waiting.values() for item in queue)):
            self._lose(item, CLOSED)
        self._outstanding.clear()
        self._waiting.clear()
        self._slot_pool.serve(0)
        self._connections.close()
        self.socket.close(0)

    def _control(self, identity: bytes, message: Control, part: zmq.Frame) -> None:
        if isinstance(message, Ready):
            if self._session is not None and message.session != self._session:
                raise WireError("receiver of another run")
            if identity == self._identity:
                return
            if self._refusal is not None:
                if self._identity and self._connections.served:
                    self._refuse(identity, self._refusal)
                    return
                self._connections.serve(part)
            self._forget_receiver()
            self._identity, self._credits = identity, message.credits
            self._slot_pool.serve(message.credits)
        elif identity != self._identity:
            raise WireError("control message of an unknown receiver")
        elif isinstance(message, Leave):
            self._forget_receiver()
        elif isinstance(message, Mapped):
            self._slot_pool.mapped(message.block)
        else:
            key = message.source, message.seq
            self._unreceived.discard(key)
            self._slot_pool.free(key)
            item = self._outstanding.get(key)
            if item is None or isinstance(message, Received):
                return  # if not outstanding, it was given up, or sent before this stage was restarted
            self._processed.add(key)
            if isinstance(message, Done):
                self._processed.remove(key)
                del self._outstanding[key]
                self._transit_times_ns.append(self._clock() - item.sent_ns)
                if not item.is_end:
                    self._ledgers[message.source].deliver()

    def _dispatch(self) -> None:
        """Drop stale frames, then send against the available credits, taking the sources in turn."""
        self._drop_stale()
        while len(self._outstanding) - len(self._processed) < self._credits:
            source = next((source for source, queue in self._waiting.items() if queue and self._may_send(source)), None)
            if source is None:
                return
            queue = self._waiting.pop(source)
            item = queue[0]
            self._waiting[source] = queue
            parts = self._slot_pool.put(key_of(item.packet.message), encode(item.packet))
            try:
                self.socket.send_multipart([self._identity, *parts], zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                self._forget_receiver()
                return
            queue.popleft()
            self._outstanding[key_of(item.packet.message)] = item._replace(sent_ns=self._clock())

    def _may_send(self, source: str) -> bool:
        """Whether another message of a source may take a credit."""
        if self._per_source is None:
            return True
        return sum(key[0] == source for key in self._outstanding.keys() - self._processed) < self._per_source

    def _drop_stale(self) -> None:
        now, transit_ns = self._clock(), sorted(self._transit_times_ns)[len(self._transit_times_ns) // 2]
        for source, queue in self._waiting.items():
            if self._policies.get(source) is not Policy.BOUNDED:
                continue
            while queue and not queue[0].is_end:
                newest = len(queue) == 1 or queue[1].is_end
                if now - queue[0].born_ns + (0 if newest else transit_ns) <= self._staleness_ns:
                    break
                self._drop(queue.popleft(), "stale")

    def _drop(self, item: _Item, cause: str) -> None:
        key = key_of(item.packet.message)
        self._unreceived.discard(key)
        self._ledgers[key[0]].drop(cause)

    def _lose(self, item: _Item, cause: str) -> None:
        key = key_of(item.packet.message)
        self._unreceived.discard(key)
        if not item.is_end:
            self._ledgers[key[0]].lose(cause)

    def _refuse(self, identity: bytes, refusal: Packet) -> None:
        log.warning("a second receiver came and was refused")
        with contextlib.suppress(zmq.ZMQError):  # it may have disconnected
            self.socket.send_multipart([identity, *encode(refusal)], zmq.NOBLOCK)

    def _forget_receiver(self) -> None:
        """Return outstanding messages to the queue in their order, as far as they may be sent again."""
        for key, sent in reversed(self._outstanding.items()):
            source, item = key[0], sent._replace(crashes=sent.crashes + (key not in self._processed))
            lossless = self._policies.get(source, Policy.LOSSLESS) is Policy.LOSSLESS
            if item.is_end or (lossless and item.crashes < MAX_CRASHES):
                self._waiting.setdefault(source, deque()).appendleft(item)
            else:
                self._lose(item, CRASH)
        self._outstanding.clear()
        self._processed.clear()
        self._identity, self._credits = b"", 0
        self._slot_pool.serve(0)
