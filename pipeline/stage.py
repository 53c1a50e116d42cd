"""The interface of a stage, and the loop that runs a stage between its queues.

A stage does not depend on whether it runs in a thread or a process, nor on its neighbours.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import zmq
from msgspec.structs import replace

from pipeline.control_link import Aborted, Link, SourceReport, StageState, State
from pipeline.errors import PipelineError, one_line
from pipeline.messages import EndOfSource, Key, Packet, Stamp, key_of, source_of
from pipeline.queues import Sender
from pipeline.receiver import Receiver

POLL_MS = 100


class Stage(Protocol):
    """One processing stage of the pipeline. Used from one thread.

    Attributes:
        batch_size: maximum number of messages that ``process`` takes at once.
        window_s: seconds to wait for messages of other sources to fill a batch.
    """

    batch_size: int
    window_s: float

    def open(self) -> None:
        """Prepare the stage. Called before the first message, in the thread that runs the stage."""

    def process(self, packets: Sequence[Packet]) -> Iterable[Packet]:
        """Turn packets into packets for the next stage, keeping the order within every source.

        ``EndOfSource`` is passed in as well and must be passed on, except by the last stage.
        """

    def close(self) -> None:
        """Release all resources. Called exactly once, also after a failure."""

    def facts(self) -> Mapping[str, str]:
        """Return facts about the stage for the record of the run, such as its device."""

    def reports(self) -> Mapping[str, SourceReport]:
        """Return results by source; empty for stages that have none."""


class StageLoop:
    """Runs a stage until every source has ended.

    Args:
        name: name of the stage in the graph. Frames are stamped with it, without the number of a lane.
        stage: the stage.
        inputs: queues to read from.
        output: queue to write to; None for the last stage.
        link: control link to the supervisor.
        sources: ids of all sources whose messages will arrive.
        session: name of this run.
    """

    def __init__(
        self,
        name: str,
        stage: Stage,
        inputs: Sequence[Receiver],
        output: Sender | None,
        link: Link,
        sources: Iterable[str],
        session: str,
    ) -> None:
        self._name, self._stage, self._inputs, self._output = name, stage, list(inputs), output
        self._link, self._open_sources, self._session = link, set(sources), session
        self._in_hand: list[tuple[Receiver, Packet]] = []
        self._passed: set[Key] = set()
        self._finished: deque[tuple[Receiver, Packet]] = deque()
        self._lost: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._state: State = "starting"
        self._error, self._exit_code, self._trace = "", 0, ""
        self._idle_ns = 0
        self._poller = zmq.Poller()
        for receiver in self._inputs:
            self._poller.register(receiver.socket, zmq.POLLIN)
        if output is not None:
            self._poller.register(output.socket, zmq.POLLIN)
        self._poller.register(link.socket, zmq.POLLIN)

    def run(self) -> None:
        """Run until all sources have ended. Raises nothing: errors are reported to the supervisor."""
        try:
            self._send_state("starting")
            try:
                self._stage.open()
                self._send_state("running")
                while self._open_sources:
                    if not self._step() and self._link.stopping:
                        break  # upstream stages have exited and nothing more is in transit
                self._flush()
                self._state = "drained"
            except Aborted:
                raise
            except Exception as error:
                self._fail(error)
        except Aborted:
            self._state = "aborted"
        finally:
            self._close()

    def _step(self) -> bool:
        """Process the next batch. Return whether there was one."""
        batch = self._collect()
        if not batch:
            return False
        enter = time.monotonic_ns()
        self._in_hand, self._passed = batch, set()
        packets = [packet for _, packet in batch]
        for out in self._stage.process(packets):
            self._send(self._stamped(out, enter))
            self._passed.add(key_of(out.message))
        ended = {packet.message.source for packet in packets if isinstance(packet.message, EndOfSource)}
        self._open_sources -= ended
        if ended or self._link.due:
            self._send_state(self._state)
        self._in_hand = []
        for receiver, packet in batch:
            if self._output is not None:
                receiver.release(packet)
        self._finished.extend(batch)
        self._acknowledge_finished()
        return True

    def _acknowledge_finished(self) -> None:
        """Report messages as done once the next stage has their results; until then they may have to be redelivered."""
        while self._finished:
            receiver, packet = self._finished[0]
            if self._output is not None and not self._output.handed_over(packet):
                return
            self._finished.popleft()
            receiver.done(packet)

    def _collect(self) -> list[tuple[Receiver, Packet]]:
        """Return available messages up to the batch size; wait up to ``window_s`` for sources that have none yet."""
        batch: list[tuple[Receiver, Packet]] = []
        deadline = 0.0
        while True:
            for receiver in self._inputs:
                while len(batch) < self._stage.batch_size and (packet := receiver.receive()) is not None:
                    batch.append((receiver, packet))
            served = {receiver for receiver, _ in batch}
            self._inputs.sort(key=lambda receiver: receiver in served)  # serve the other inputs first next time
            self._service_connections()
            enough = min(self._stage.batch_size, len(self._open_sources))
            if not batch:
                with self._counted_as_idle():
                    self._poller.poll(POLL_MS)
                if self._link.due:
                    return batch
                continue
            present = {source_of(packet.message) for _, packet in batch}
            now = time.monotonic()
            deadline = deadline or now + self._stage.window_s
            if len(present) >= enough or len(batch) >= self._stage.batch_size or now >= deadline:
                return batch
            with self._counted_as_idle():
                self._poller.poll(max(1, int((deadline - now) * 1000)))

    @contextmanager
    def _counted_as_idle(self) -> Iterator[None]:
        """Count the time spent in this block as idle: the stage waits for its neighbours."""
        begin = time.monotonic_ns()
        yield
        self._idle_ns += time.monotonic_ns() - begin

    def _send(self, packet: Packet) -> None:
        if self._output is None:
            raise RuntimeError(f"stage {self._name} has no output queue")
        self._output.offer(packet)
        while self._output.waiting():
            with self._counted_as_idle():
                self._output.pump(POLL_MS / 1000)
            self._service_connections()

    def _stamped(self, packet: Packet, enter_ns: int) -> Packet:
        if isinstance(packet.message, EndOfSource):
            return packet
        header = packet.message.header
        stamp = Stamp(stage=self._name.partition(".")[0], enter_ns=enter_ns, leave_ns=time.monotonic_ns())
        return Packet(replace(packet.message, header=replace(header, stamps=(*header.stamps, stamp))), packet.picture)

    def _fail(self, error: Exception) -> None:
        """Report an error, end all sources downstream, and keep emptying the inputs so that upstream can drain."""
        self._error, self._trace = one_line(error), traceback.format_exc()
        self._exit_code = error.exit_code if isinstance(error, PipelineError) else 5
        self._state = "failed"
        self._send_state("failed")
        if self._output is not None:
            for source in sorted(self._open_sources):
                failed = EndOfSource(session=self._session, source=source, reason="failed", error=self._error)
                self._send(Packet(failed))
        for receiver, held in self._in_hand:
            if key_of(held.message) not in self._passed:
                self._discard(held)
            self._finished.append((receiver, held))
        while self._open_sources:
            for receiver in self._inputs:
                while (packet := receiver.receive()) is not None:
                    self._discard(packet)
                    receiver.done(packet)
            self._poller.poll(POLL_MS)
            self._service_connections()
        self._flush()

    def _discard(self, packet: Packet) -> None:
        if isinstance(packet.message, EndOfSource):
            self._open_sources.discard(packet.message.source)
        else:
            self._lost[packet.message.header.source][f"{self._name} failed"] += 1

    def _flush(self) -> None:
        """Wait until the next stage is done with everything, and report what it was made from as done."""
        while self._output is not None and not self._output.idle:
            self._output.pump(POLL_MS / 1000)
            self._service_connections()
        self._acknowledge_finished()

    def _service_connections(self) -> None:
        """Handle what must not be delayed: orders, credits and the heartbeat."""
        self._link.read_orders()
        if self._output is not None:
            self._output.pump()
        self._acknowledge_finished()
        if self._link.due:
            self._send_state(self._state)

    def _send_state(self, state: State) -> None:
        self._state = state
        self._link.send_state(
            StageState(
                stage=self._name,
                state=state,
                error=self._error,
                exit_code=self._exit_code,
                trace=self._trace,
                lost={source: dict(causes) for source, causes in self._lost.items()},
                queues=self._output.accounts() if self._output is not None else {},
                reports=self._stage.reports(),
                facts=self._stage.facts(),
                rejected=self._output.rejected if self._output is not None else 0,
                duplicates=sum(receiver.duplicates for receiver in self._inputs),
                wants_stop=self._link.wants_stop,
                idle_s=self._idle_ns / 1e9,
                idle_until_ns=time.monotonic_ns(),
            )
        )

    def _close(self) -> None:
        try:
            self._stage.close()
        except Exception as error:
            if not self._error:
                self._error, self._exit_code = one_line(error), getattr(error, "exit_code", 5)
                self._state, self._trace = "failed", traceback.format_exc()
        for receiver in self._inputs:
            receiver.close()
        if self._output is not None:
            self._output.close()
        self._send_state(self._state)
        self._link.close()
