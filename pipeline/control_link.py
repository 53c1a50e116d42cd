"""The line between a stage and the supervisor: the stage tells how it is, the supervisor tells it to stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec
import zmq
from msgspec import Meta, Struct

from pipeline.accounting import Account
from pipeline.wire import WireError, decode_struct, encode_struct

BEAT_S = 0.25
MAX_STATE_BYTES = 1 << 24
MAX_ORDER_BYTES = 1024
State = Literal["starting", "running", "drained", "failed", "aborted"]


class Latency(Struct, frozen=True, forbid_unknown_fields=True):
    """Percentiles of a duration in milliseconds, over ``count`` samples."""

    count: int
    p50: float
    p95: float
    p99: float


LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class LatencyBuckets(Struct, frozen=True, forbid_unknown_fields=True):
    """How many durations were at most each of ``LATENCY_BOUNDS_S``, how many there were, and their sum."""

    counts: tuple[int, ...]
    count: int
    sum_s: float


class SourceReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the last stage knows of one source, and the tracker of its scene.

    Attributes:
        delivered: frames written.
        tracks_confirmed: distinct tracks that were ever confirmed.
        fps: delivered frames per second of wall time, between first and last.
        latency: capture to the end of each stage, by stage name, as seen by the frames.
        buckets: the same as a histogram.
        newest_ns: monotonic ns at which the newest frame delivered was captured; 0 before the first.
        ego_ok: frames whose ego-motion estimate was trusted.
        tracks: in the newest frame, by state.
        places: in the picture that the tracker knows for what stands there, in the ``scene`` or on the ``sensor``; from
            the track stage alone.
        end: why the source ended; empty while it runs.
        error: one line, if it failed.
    """

    delivered: int = 0
    tracks_confirmed: int = 0
    fps: float = 0.0
    latency: Mapping[str, Latency] = {}
    buckets: Mapping[str, LatencyBuckets] = {}
    newest_ns: int = 0
    ego_ok: int = 0
    tracks: Mapping[str, int] = {}
    places: Mapping[str, int] = {}
    end: Literal["", "finished", "stopped", "failed"] = ""
    error: str = ""


class StageState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="state"):
    """How a stage is; sent four times a second and at every change.

    Attributes:
        stage: name in the graph.
        state: where it is in its life.
        error: one line and ``exit_code`` above 0 once something has gone wrong.
        lost: frames lost inside the stage, by source and cause.
        queues: loss accounts of the stage's outgoing queue, by source.
        reports: results by source; of the last stage, and of the track stage.
        length: frames the medium says it holds; of capture stages only, where known.
        facts: backend, device and the like, for the run's record.
        rejected: control messages to the outgoing queue that made no sense.
        duplicates: messages that came to the stage more than once and were passed over.
        wants_stop: a person at the stage's window wants the run to end.
        idle_s: seconds in which it had no frame to work on, or the next stage would not take one; of stages with
            inputs.
        idle_until_ns: up to when they are counted, monotonic.
    """

    stage: str
    state: State
    error: str = ""
    exit_code: Annotated[int, Meta(ge=0, le=255)] = 0
    lost: Mapping[str, Mapping[str, int]] = {}
    queues: Mapping[str, Account] = {}
    reports: Mapping[str, SourceReport] = {}
    length: int | None = None
    facts: Mapping[str, str] = {}
    rejected: int = 0
    duplicates: int = 0
    wants_stop: bool = False
    idle_s: Annotated[float, Meta(ge=0)] = 0.0
    idle_until_ns: int = 0


class Stop(Struct, frozen=True, tag="stop", forbid_unknown_fields=True):
    """Supervisor to stage. Gentle: no more will come, end and drain. Otherwise: leave now."""

    gentle: bool


class Aborted(Exception):
    """The supervisor has ordered the stage to leave at once, or is gone."""


_state_decoder = msgspec.msgpack.Decoder(StageState)
_stop_decoder = msgspec.msgpack.Decoder(Stop)


class Link:
    """The stage's end of the line.

    Args:
        context: ZeroMQ context.
        endpoint: of the switchboard.
        stage: name in the graph.
        unwanted: the stage has to leave, as one in a process of its own may learn by other ways than this line.

    Attributes:
        stopping: a gentle stop was ordered.
        abort: an immediate stop was ordered.
        wants_stop: see ``StageState``.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        stage: str,
        unwanted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.stage = stage
        self.stopping = False
        self.abort = False
        self.wants_stop = False
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 1000
        self.socket.maxmsgsize = MAX_ORDER_BYTES
        self.socket.routing_id = stage.encode()
        self.socket.connect(endpoint)
        self._unwanted = unwanted
        self._next_beat = 0.0

    def tell(self, state: StageState) -> None:
        """Send a state now."""
        with contextlib.suppress(zmq.Again):
            self.socket.send(encode_struct(state), zmq.NOBLOCK)
        self._next_beat = time.monotonic() + BEAT_S

    def ask_stop(self) -> None:
        """Ask the supervisor to end the run, with the next state."""
        self.wants_stop = True

    @property
    def due(self) -> bool:
        """It is time for the next state."""
        return time.monotonic() >= self._next_beat

    def listen(self) -> None:
        """Take in orders.

        Raises:
            Aborted: the stage must leave at once.
        """
        while True:
            try:
                body = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            with contextlib.suppress(WireError):
                order: Stop = decode_struct(body, _stop_decoder)
                self.stopping = True
                self.abort |= not order.gentle
        if self.abort or self._unwanted():
            raise Aborted

    def close(self) -> None:
        """Drop the socket; what was said is still delivered."""
        self.socket.close()


class Switchboard:
    """The supervisor's end of all lines.

    Args:
        context: ZeroMQ context of the main process.
        endpoints: addresses to bind, one per transport in use.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoints: list[str]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.router_handover = True  # a stage started again has the name of the one before
        self.socket.maxmsgsize = MAX_STATE_BYTES
        for endpoint in endpoints:
            self.socket.bind(endpoint)

    def hear(self, timeout_s: float) -> list[StageState]:
        """All states that have come, waiting up to ``timeout_s`` for the first."""
        heard: list[StageState] = []
        if not self.socket.poll(int(timeout_s * 1000)):
            return heard
        while True:
            try:
                identity, body = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return heard
            except ValueError:
                continue
            with contextlib.suppress(WireError):
                state: StageState = decode_struct(body, _state_decoder)
                if state.stage.encode() == identity:
                    heard.append(state)

    def order(self, stage: str, stop: Stop) -> None:
        """Send an order; a stage that is not there yet or any more is passed over."""
        with contextlib.suppress(zmq.ZMQError):
            self.socket.send_multipart([stage.encode(), encode_struct(stop)], zmq.NOBLOCK)

    def close(self) -> None:
        """Drop the socket."""
        self.socket.close()
