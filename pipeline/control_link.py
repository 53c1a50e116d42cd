"""The control link between a stage and the supervisor: states and heartbeats one way, stop orders the other."""

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

BEAT_S = 0.25  # interval of the heartbeats of a stage
MAX_STATE_BYTES = 1 << 24
MAX_ORDER_BYTES = 1024
State = Literal["starting", "running", "drained", "failed", "aborted"]


class Latency(Struct, frozen=True, forbid_unknown_fields=True):
    """Percentiles of a duration in milliseconds over ``count`` samples."""

    count: int
    p50: float
    p95: float
    p99: float


LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class LatencyBuckets(Struct, frozen=True, forbid_unknown_fields=True):
    """Cumulative histogram: number of durations up to each of ``LATENCY_BOUNDS_S``, total number and sum."""

    counts: tuple[int, ...]
    count: int
    sum_s: float


class SourceReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Results of one source, from the last stage and from those before it that know more.

    Attributes:
        delivered: number of frames written.
        tracks_confirmed: number of distinct tracks that were ever confirmed.
        fps: delivered frames per second of wall time, between the first and the last.
        latency: time from capture to the end of each stage, by stage name.
        buckets: the same as histograms.
        newest_ns: capture time of the newest frame delivered, in monotonic ns; 0 before the first.
        ego_ok: number of frames whose ego-motion estimate was trusted.
        tracks: number of tracks in the newest frame, by state.
        places: number of known false alarms: from the track stage places of static clutter, in the ``scene`` or on the
            ``sensor``; from the preprocess stage hidden pixels: single defects (``pixel``) and burnt-in
            ``graphics``.
        black_hot: from the preprocess stage, whether hot objects are dark in the newest frame.
        end: why the source ended; empty while it runs.
        error: error message of one line if it failed.
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
    black_hot: bool = False
    end: Literal["", "finished", "stopped", "failed"] = ""
    error: str = ""


class StageState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="state"):
    """State of a stage, which also is its heartbeat: sent four times a second and at every change.

    Attributes:
        stage: name in the graph.
        state: state in the life cycle of a stage.
        error: error message of one line, empty if there is none; ``exit_code`` is above 0 if there is one.
        trace: traceback of the error, as far as it is known.
        lost: number of frames lost inside the stage, by source and cause.
        queues: frame accounts of the outgoing queue, by source.
        reports: results by source; from the preprocess, track and last stage.
        length: number of frames in the medium; from capture stages only, if known.
        facts: backend, device and the like, for the record of the run.
        rejected: number of invalid control messages received by the outgoing queue.
        duplicates: number of messages that arrived more than once and were ignored.
        wants_stop: the user has asked to end the run in the window of the stage.
        idle_s: seconds in which the stage had no frame to process or waited for the next stage to accept one; for
            stages with inputs.
        idle_until_ns: time up to which ``idle_s`` is counted, in monotonic ns.
    """

    stage: str
    state: State
    error: str = ""
    exit_code: Annotated[int, Meta(ge=0, le=255)] = 0
    trace: str = ""
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
    """Order to a stage: if ``gentle``, no more input will come, so finish and drain; otherwise exit at once."""

    gentle: bool


class Aborted(Exception):
    """The supervisor has ordered the stage to exit at once, or has died."""


_state_decoder = msgspec.msgpack.Decoder(StageState)
_stop_decoder = msgspec.msgpack.Decoder(Stop)


class Link:
    """The end of the control link in the stage.

    Args:
        context: ZeroMQ context.
        endpoint: endpoint of the switchboard.
        stage: name of the stage in the graph.
        unwanted: returns True if the stage has to exit for a reason outside of this link, such as a signal.

    Attributes:
        stopping: a stop was ordered, gentle or immediate.
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

    def send_state(self, state: StageState) -> None:
        """Send a state now, without waiting."""
        with contextlib.suppress(zmq.Again):
            self.socket.send(encode_struct(state), zmq.NOBLOCK)
        self._next_beat = time.monotonic() + BEAT_S

    def ask_stop(self) -> None:
        """Ask the supervisor to end the run; sent with the next state."""
        self.wants_stop = True

    @property
    def due(self) -> bool:
        """Whether the next heartbeat is due."""
        return time.monotonic() >= self._next_beat

    def read_orders(self) -> None:
        """Read the orders that have arrived.

        Raises:
            Aborted: the stage must exit at once.
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
        """Close the socket. Pending states are still delivered."""
        self.socket.close()


class Switchboard:
    """The end of all control links in the supervisor.

    Args:
        context: ZeroMQ context of the main process.
        endpoints: addresses to bind, one per transport in use.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoints: list[str]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.router_handover = True  # a restarted stage uses the same name
        self.socket.maxmsgsize = MAX_STATE_BYTES
        for endpoint in endpoints:
            self.socket.bind(endpoint)

    def receive_states(self, timeout_s: float) -> list[StageState]:
        """Return all states that have arrived, waiting up to ``timeout_s`` for the first."""
        states: list[StageState] = []
        if not self.socket.poll(int(timeout_s * 1000)):
            return states
        while True:
            try:
                identity, body = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return states
            except ValueError:
                continue
            with contextlib.suppress(WireError):
                state: StageState = decode_struct(body, _state_decoder)
                if state.stage.encode() == identity:
                    states.append(state)

    def order(self, stage: str, stop: Stop) -> None:
        """Send an order. Nothing happens if the stage is not connected."""
        with contextlib.suppress(zmq.ZMQError):
            self.socket.send_multipart([stage.encode(), encode_struct(stop)], zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
