"""The stage loop between real queues, in threads, with stages that work, batch, fail and are aborted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
import zmq

from pipeline.control_link import Link, SourceReport, StageState, Stop, Switchboard
from pipeline.errors import StageError
from pipeline.messages import EndOfSource, Packet
from pipeline.queues import Sender
from pipeline.receiver import Receiver
from pipeline.stage import StageLoop
from tests.conftest import wait_until
from tests.messages import SESSION, end
from tests.pipeline.queue_ends import frame, seqs, taking


class ToyStage:
    """Stage that passes every frame on after ``work_s`` and fails at the ``fail_at``-th message."""

    def __init__(
        self, batch_size: int = 1, fail_at: int | None = None, work_s: float = 0.0, window_s: float = 0.0
    ) -> None:
        self.batch_size, self._fail_at, self.calls, self.closed = batch_size, fail_at, 0, 0
        self._work_s, self.window_s = work_s, window_s
        self.batches: list[int] = []

    def open(self) -> None:
        pass

    def process(self, packets: Sequence[Packet]) -> Iterator[Packet]:
        self.batches.append(len(packets))
        for packet in packets:
            self.calls += 1
            time.sleep(self._work_s)
            if self.calls == self._fail_at:
                raise StageError("disk is full:\n /out")
            yield packet

    def close(self) -> None:
        self.closed += 1

    def facts(self) -> Mapping[str, str]:
        return {"device": "toy"}

    def reports(self) -> Mapping[str, SourceReport]:
        return {}


class Bench:
    """One stage in a thread, between a sender and a receiver of the test."""

    def __init__(self, stage: ToyStage, sources: set[str], credits: int = 2) -> None:
        self.context = zmq.Context()
        self.board = Switchboard(self.context, ["inproc://control"])
        self.source = Sender(self.context, "inproc://in")
        self.states: list[StageState] = []

        def work() -> None:
            link = Link(self.context, "inproc://control", "toy")
            self.output = Sender(self.context, "inproc://out")
            inputs = [Receiver(self.context, "inproc://in", SESSION, credits)]
            StageLoop("toy", stage, inputs, self.output, link, sources, SESSION).run()

        self.thread = threading.Thread(target=work)
        self.thread.start()
        self.sink = Receiver(self.context, "inproc://out", SESSION)

    def push(self, *packets: Packet) -> None:
        for packet in packets:
            self.source.offer(packet)

    def drain(self, limit_s: float = 10) -> None:
        limit = time.monotonic() + limit_s
        while self.thread.is_alive() and time.monotonic() < limit:
            self.source.pump(0.02)
            self.states += self.board.receive_states(0)
        self.thread.join(1)
        assert not self.thread.is_alive()
        self.source.pump(0.05)
        self.states += self.board.receive_states(0.05)

    def close(self) -> None:
        self.source.close()
        self.sink.close()
        self.board.close()
        self.context.destroy(0)


def run_to_end(stage: ToyStage, count: int = 10) -> tuple[Bench, list[Packet]]:
    bench = Bench(stage, {"a", "b"}, credits=max(2, stage.batch_size))
    with taking(bench.sink, {"a", "b"}) as got:
        for seq in range(count):
            bench.push(frame("a", seq), frame("b", seq))
        bench.push(end("a"), end("b"))
        bench.drain()
    return bench, got


@pytest.mark.parametrize("batch_size", [1, 4])
def test_everything_passes_in_order_with_stamps(batch_size: int) -> None:
    stage = ToyStage(batch_size)
    bench, got = run_to_end(stage)
    try:
        assert seqs(got, "a") == seqs(got, "b") == list(range(10))
        for packet in got:
            if not isinstance(packet.message, EndOfSource):
                (stamp,) = packet.message.header.stamps
                assert stamp.stage == "toy"
                assert packet.message.header.capture_mono_ns <= stamp.enter_ns <= stamp.leave_ns
        last = bench.states[-1]
        assert (last.state, last.exit_code) == ("drained", 0)
        assert last.facts == {"device": "toy"}
        assert stage.closed == 1
        assert max(stage.batches) <= batch_size
        assert all(bench.source.account(s).delivered == 10 for s in "ab")
    finally:
        bench.close()


def test_batch_waits_for_other_sources_until_it_is_full() -> None:
    stage = ToyStage(batch_size=2, window_s=3600)
    bench = Bench(stage, {"a", "b"})

    def push_and_wait(packet: Packet) -> None:
        bench.push(packet)
        wait_until(lambda: bench.source.handed_over(packet), pause=lambda: bench.source.pump(0.02))

    try:
        with taking(bench.sink, {"a", "b"}) as got:
            push_and_wait(frame("a", 0))
            push_and_wait(frame("b", 0))  # arrives later: the first one waits for it
            for seq in (1, 2):
                push_and_wait(frame("a", seq))  # full without the other source
            push_and_wait(end("b"))
            push_and_wait(frame("a", 3))
            push_and_wait(end("a"))  # the only source left, so there is nothing to wait for
            bench.drain()
        assert stage.batches == [2, 2, 2, 1]
        assert seqs(got, "a") == [0, 1, 2, 3]
        assert seqs(got, "b") == [0]
    finally:
        bench.close()


def test_incomplete_batch_is_processed_after_the_window() -> None:
    stage = ToyStage(batch_size=2, window_s=0.2)
    bench = Bench(stage, {"a", "b"})
    try:
        with taking(bench.sink, {"a", "b"}) as got:
            bench.push(frame("a", 0))
            wait_until(lambda: stage.batches, pause=lambda: bench.source.pump(0.02))
            bench.push(end("a"), end("b"))
            bench.drain()
        assert stage.batches[0] == 1
        assert seqs(got, "a") == [0]
    finally:
        bench.close()


def test_what_was_passed_on_before_a_failure_is_done_however_fast_the_next_stage_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flush = StageLoop._flush

    def flush_late(loop: StageLoop) -> None:
        while loop._output is not None and not loop._output.idle:
            loop._output.pump(0.01)
        flush(loop)

    monkeypatch.setattr(StageLoop, "_flush", flush_late)
    stage, sent = ToyStage(batch_size=2, fail_at=2), threading.Event()
    monkeypatch.setattr(stage, "open", sent.wait)
    bench = Bench(stage, {"a"})
    try:
        with taking(bench.sink, {"a"}) as got:
            bench.push(frame("a", 0), end("a"))  # one batch, which fails at its second message
            wait_until(lambda: not bench.source.waiting(), pause=lambda: bench.source.pump(0.02))
            sent.set()
            bench.drain()
        assert (stage.batches, seqs(got, "a")) == ([2], [0])
        assert bench.source.account("a").delivered == 1
    finally:
        bench.close()


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("fail_at", [1, 6, 21])
def test_failing_stage_ends_sources_downstream_drains_upstream_and_counts_the_loss(
    fail_at: int, batch_size: int
) -> None:
    stage = ToyStage(batch_size, fail_at)
    bench, got = run_to_end(stage)
    try:
        last = bench.states[-1]
        assert (last.state, last.exit_code, last.error) == ("failed", 5, "disk is full: /out")
        ends = [p.message for p in got if isinstance(p.message, EndOfSource)]
        assert {e.source for e in ends} == {"a", "b"}
        assert all(e.reason == "failed" and e.error == "disk is full: /out" for e in ends)
        for source in "ab":
            passed = len(seqs(got, source))
            lost = sum(last.lost.get(source, {}).values())
            assert passed + lost == 10, "every received frame is passed on or counted as lost"
            assert bench.source.account(source).delivered == 10
        assert len(seqs(got, "a")) + len(seqs(got, "b")) == min(fail_at - 1, 20)
        assert stage.closed == 1
    finally:
        bench.close()


def test_abort_works_while_the_output_is_blocked() -> None:
    stage = ToyStage()
    bench = Bench(stage, {"a"})
    try:
        bench.push(*(frame("a", seq) for seq in range(8)))  # the sink returns no credits
        wait_until(lambda: stage.calls >= 2, pause=lambda: bench.source.pump(0.02))
        bench.board.receive_states(0.1)
        bench.board.order("toy", Stop(gentle=False))
        bench.drain()
        assert bench.states[-1].state == "aborted"
        assert stage.closed == 1
        account = bench.source.account("a")
        assert account.closes
        assert account.in_flight == 8, "no frame is done before the next stage has its result"
    finally:
        bench.close()


def test_idle_time_excludes_work() -> None:
    begin, stage = time.monotonic(), ToyStage(work_s=0.2)
    bench = Bench(stage, {"a"})

    def until(condition: Callable[[StageState], object]) -> None:
        def pause() -> None:
            bench.source.pump(0.01)
            bench.states += bench.board.receive_states(0.01)

        wait_until(lambda: bench.states and condition(bench.states[-1]), pause=pause)

    try:
        until(lambda state: state.idle_s > 0.3)  # no input
        bench.push(*(frame("a", seq) for seq in range(8)))  # the sink returns no credits
        until(lambda state: state.queues.get("a") and state.queues["a"].entered == 3)
        before = bench.states[-1].idle_s
        until(lambda state: state.idle_s > before + 0.3)  # the next stage accepts no output
        assert bench.states[-1].idle_s <= time.monotonic() - begin - 3 * 0.2, "work is not idle"
        bench.board.order("toy", Stop(gentle=False))
        bench.drain()
    finally:
        bench.close()


def test_duplicates_and_invalid_messages_are_counted_and_reported() -> None:
    bench = Bench(ToyStage(), {"a"})
    stranger = bench.context.socket(zmq.DEALER)
    try:
        with taking(bench.sink, {"a"}) as got:
            for packet in (frame("a", 0), frame("a", 0), frame("a", 1)):
                bench.push(packet)
                wait_until(lambda: bench.source.idle, pause=lambda: bench.source.pump(0.02))
            stranger.connect("inproc://out")
            stranger.send(b"no message")
            wait_until(
                lambda: bench.states and bench.states[-1].rejected,
                pause=lambda: bench.states.extend(bench.board.receive_states(0.05)),
            )
            bench.push(end("a"))
            bench.drain()
        assert seqs(got, "a") == [0, 1]
        assert (bench.states[-1].duplicates, bench.states[-1].rejected) == (1, 1)
    finally:
        stranger.close(0)
        bench.close()
