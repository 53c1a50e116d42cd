"""What a stage is, and the loop that runs one between its queues.

A stage never learns whether it is a thread or a process, nor what its neighbours are.
"""

from __future__ import annotations

import time
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
    """A room of the house. Used from one thread.

    Attributes:
        batch_size: messages that ``process`` takes at once, at most.
        window_s: how long to wait for messages of other sources to fill a batch.
    """

    batch_size: int
    window_s: float

    def open(self) -> None:
        """Get ready; called before the first message, in the thread that will run the stage."""

    def process(self, packets: Sequence[Packet]) -> Iterable[Packet]:
        """Turn packets into packets for the next stage, keeping the order of every source.

        ``EndOfSource`` comes through as well and is passed on, except by the last stage.
        """

    def close(self) -> None:
        """Release everything; called exactly once, also after a failure."""

    def facts(self) -> Mapping[str, str]:
        """What the run's record should say of the stage, such as its device."""

    def reports(self) -> Mapping[str, SourceReport]:
        """Results by source; empty for all but the last stage."""


class StageLoop:
    """Runs a stage until every source has ended.

    Args:
        name: of the stage in the graph.
        stage: the stage.
        inputs: queues to read from.
        output: queue to write to; None for the last stage.
        link: line to the supervisor.
        sources: ids of all sources that will come through.
        session: of this run.
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
        self._error, self._exit_code = "", 0
        self._idle_ns = 0
        self._poller = zmq.Poller()
        for receiver in self._inputs:
            self._poller.register(receiver.socket, zmq.POLLIN)
        if output is not None:
            self._poller.register(output.socket, zmq.POLLIN)
        self._poller.register(link.socket, zmq.POLLIN)

    def run(self) -> None:
        """Run to the end. Raises nothing: what goes wrong is told to the supervisor."""
        try:
            self._tell("starting")
            try:
                self._stage.open()
                self._tell("running")
                while self._open_sources:
                    if not self._step() and self._link.stopping:
                        break  # the stages before have left and nothing of theirs is on its way
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
        """Process what has come; whether anything had."""
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
            self._tell(self._state)
        self._in_hand = []
        for receiver, packet in batch:
            if self._output is not None:
                receiver.release(packet)
        self._finished.extend(batch)
        self._acknowledge_finished()
        return True

    def _acknowledge_finished(self) -> None:
        """Report as done what the next stage has in its hands: anything else must come again if this stage dies."""
        while self._finished:
            receiver, packet = self._finished[0]
            if self._output is not None and not self._output.handed_over(packet):
                return
            self._finished.popleft()
            receiver.done(packet)

    def _collect(self) -> list[tuple[Receiver, Packet]]:
        """Whatever is there, up to the batch size; waits the window only for sources that have sent nothing yet."""
        batch: list[tuple[Receiver, Packet]] = []
        deadline = 0.0
        while True:
            for receiver in self._inputs:
                while len(batch) < self._stage.batch_size and (packet := receiver.receive()) is not None:
                    batch.append((receiver, packet))
            heard = {receiver for receiver, _ in batch}
            self._inputs.sort(key=lambda receiver: receiver in heard)  # who was heard goes to the end of the line
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
        """Waiting for others: this time is to spare."""
        begin = time.monotonic_ns()
        yield
        self._idle_ns += time.monotonic_ns() - begin

    def _send(self, packet: Packet) -> None:
        if self._output is None:
            raise RuntimeError(f"stage {self._name} has nowhere to send to")
        self._output.offer(packet)
        while self._output.waiting():
            with self._counted_as_idle():
                self._output.pump(POLL_MS / 1000)
            self._service_connections()

    def _stamped(self, packet: Packet, enter_ns: int) -> Packet:
        if isinstance(packet.message, EndOfSource):
            return packet
        header = packet.message.header
        stamp = Stamp(stage=self._name, enter_ns=enter_ns, leave_ns=time.monotonic_ns())
        return Packet(replace(packet.message, header=replace(header, stamps=(*header.stamps, stamp))), packet.picture)

    def _fail(self, error: Exception) -> None:
        """Tell, end all sources downstream, and go on emptying the queues so that upstream can drain."""
        self._error = one_line(error)
        self._exit_code = error.exit_code if isinstance(error, PipelineError) else 5
        self._state = "failed"
        self._tell("failed")
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
        while self._output is not None and not self._output.idle:
            self._output.pump(POLL_MS / 1000)
            self._service_connections()

    def _service_connections(self) -> None:
        """Serve the lines that must not wait: orders, credits, heartbeat."""
        self._link.listen()
        if self._output is not None:
            self._output.pump()
        self._acknowledge_finished()
        if self._link.due:
            self._tell(self._state)

    def _tell(self, state: State) -> None:
        self._state = state
        self._link.tell(
            StageState(
                stage=self._name,
                state=state,
                error=self._error,
                exit_code=self._exit_code,
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
                self._state = "failed"
        for receiver in self._inputs:
            receiver.close()
        if self._output is not None:
            self._output.close()
        self._tell(self._state)
        self._link.close()
