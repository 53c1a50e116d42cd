"""The capture loop: pacing, policies, failures, and hanging media."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import zmq

from pipeline.accounting import Ledger
from pipeline.capture import live, stage
from pipeline.capture.config import CaptureConfig
from pipeline.capture.source import Grab
from pipeline.capture.stage import ORIGIN, READ_AHEAD, CaptureLoop, Reader, resume
from pipeline.control_link import BEAT_S, Link, StageState, Stop, Switchboard
from pipeline.errors import SourceError
from pipeline.journal import SLOTS
from pipeline.messages import EndOfSource, Frame
from pipeline.queues import Policy, Sender
from pipeline.receiver import Receiver
from tests.conftest import wait_until
from tests.messages import SESSION
from tests.pipeline.queue_ends import seqs, take

CREDITS = 2
WALL_NS = 1_700_000_000_000_000_000  # 14 November 2023, 22:13:20 UTC
Counters = tuple[list[int], Ledger] | None


class Medium:
    """Delivers ``count`` frames, then ends, fails, or hangs."""

    name = "medium"
    length = None
    state = "open"
    reconnects, notice, hangs = 2, "8 of 12 bits", False
    interval_s = 1 / 25
    times: Sequence[float] = ()
    began_ns = 0

    def __init__(self, count: int, then: str = "end", hang_in_open: bool = False, live: bool = False) -> None:
        self.live, self.replays = live, not live
        self.grabs, self._count, self._then, self._hang_in_open = 0, count, then, hang_in_open
        self.closed = threading.Event()

    def open(self) -> None:
        if self._hang_in_open:
            threading.Event().wait()

    def grab(self) -> Grab | None:
        if self.grabs == self._count:
            if self._then == "fail":
                raise SourceError("medium: torn at frame 3")
            if self._then == "hang":
                threading.Event().wait()
            return None
        self.grabs += 1
        now = time.monotonic_ns()
        self.began_ns = self.began_ns or now
        pts = self.times[self.grabs - 1] if self.times else self.grabs * self.interval_s
        return Grab(np.full((32, 32), self.grabs, np.uint16), self.grabs - 1, pts, now, WALL_NS, 14)

    def close(self) -> None:
        self.closed.set()


class Bench:
    """Runs a capture loop in a thread."""

    def __init__(self, medium: Medium, policy: Policy, counters: Counters = None) -> None:
        self.context = zmq.Context()
        self.board = Switchboard(self.context, ["inproc://control"])
        self.states: list[StageState] = []

        def work() -> None:
            row, ledgers = (counters[0], {"a": counters[1]}) if counters is not None else (None, {})
            sender = Sender(self.context, "inproc://out", policies={"a": policy}, ledgers=ledgers)
            link = Link(self.context, "inproc://control", "capture.a")
            CaptureLoop("capture.a", medium, "a", SESSION, policy, sender, link, row).run()

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()
        self.receiver = Receiver(self.context, "inproc://out", SESSION, CREDITS)

    def stop(self, gentle: bool) -> None:
        self.states += self.board.receive_states(5)
        self.board.order("capture.a", Stop(gentle))

    def join(self) -> StageState:
        self.thread.join(15)
        assert not self.thread.is_alive(), "the capture loop hangs"
        self.states += self.board.receive_states(1)
        return self.states[-1]


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for bench in made:
        bench.receiver.close()
        bench.board.close()
        bench.context.destroy(0)


@pytest.mark.parametrize(("live", "begun"), [(True, {"begun": "2023-11-14T22:13:19.960Z"}), (False, {})])
def test_facts_report_reconnects_notice_and_start_time(benches: list[Bench], live: bool, begun: dict[str, str]) -> None:
    benches.append(bench := Bench(Medium(3, live=live), Policy.LOSSLESS))
    assert seqs(list(take(bench.receiver, {"a"})), "a") == [0, 1, 2]
    medium = {"address": "medium", "state": "open", "reconnects": "2", "notice": "8 of 12 bits"}
    assert bench.join().facts == medium | begun


def test_all_frames_are_sent_before_the_end(benches: list[Bench]) -> None:
    benches.append(bench := Bench(Medium(20), Policy.LOSSLESS))
    got = list(take(bench.receiver, {"a"}))
    last = bench.join()
    assert seqs(got, "a") == list(range(20))
    assert got[-1].message == EndOfSource(session=SESSION, source="a", reason="finished", captured=20)
    assert (last.state, last.exit_code) == ("drained", 0)
    assert last.queues["a"].delivered == 20


def test_failure_is_reported_after_the_earlier_frames(benches: list[Bench]) -> None:
    benches.append(bench := Bench(Medium(3, then="fail"), Policy.LOSSLESS))
    got = list(take(bench.receiver, {"a"}))
    last = bench.join()
    assert seqs(got, "a") == [0, 1, 2]
    end = got[-1].message
    assert isinstance(end, EndOfSource)
    assert (end.reason, end.error, end.captured) == ("failed", "medium: torn at frame 3", 3)
    assert (last.exit_code, last.error) == (3, "medium: torn at frame 3")


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("grab", "medium: ZeroDivisionError: a defect"),
        ("close", "medium: OSError: stale handle"),
        ("packet", "medium: AttributeError: "),
    ],
)
def test_unexpected_failure_ends_the_source_like_any_other(
    benches: list[Bench], monkeypatch: pytest.MonkeyPatch, where: str, error: str
) -> None:
    medium = Medium(2)

    def fail() -> None:
        raise ZeroDivisionError("a defect")

    def close() -> None:
        if not medium.closed.is_set():
            medium.closed.set()
            raise OSError("stale handle")

    if where == "grab":
        medium.grab = fail
    elif where == "close":
        medium.close = close
    else:
        monkeypatch.setattr(Grab, "packet", lambda self, *_: self.no_such_attribute)
    benches.append(bench := Bench(medium, Policy.LOSSLESS))
    end = list(take(bench.receiver, {"a"}))[-1].message
    last = bench.join()
    assert isinstance(end, EndOfSource)
    assert end.reason == "failed"
    assert end.error.startswith(error)
    assert (last.state, last.exit_code, last.error) == ("drained", 3, end.error)


def test_reader_that_cannot_be_started_ends_the_source(benches: list[Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Reader) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Reader, "start", start)
    benches.append(bench := Bench(Medium(3), Policy.LOSSLESS))
    (end,) = (packet.message for packet in take(bench.receiver, {"a"}))
    last = bench.join()
    assert isinstance(end, EndOfSource)
    assert (end.reason, end.error) == ("failed", "medium: RuntimeError: can't start new thread")
    assert (last.state, last.exit_code, last.error) == ("drained", 3, end.error)


def test_lossless_medium_is_read_only_as_fast_as_frames_are_taken(benches: list[Bench]) -> None:
    medium = Medium(1000)
    benches.append(bench := Bench(medium, Policy.LOSSLESS))
    held = [bench.receiver.receive(5) for _ in range(CREDITS)]
    assert None not in held
    time.sleep(0.5)
    assert medium.grabs <= CREDITS + READ_AHEAD + 1
    bench.stop(gentle=False)
    bench.join()


def test_latest_policy_reads_on_while_the_receiver_is_slow(benches: list[Bench]) -> None:
    medium = Medium(200, then="hang", live=True)
    benches.append(bench := Bench(medium, Policy.LATEST))
    wait_until(lambda: medium.grabs == 200)  # no credit came back, yet every frame is read
    bench.stop(gentle=True)
    got = list(take(bench.receiver, {"a"}))
    last = bench.join()
    account = last.queues["a"]
    assert account.closes
    assert account.entered == 200
    assert account.dropped["superseded"] == 200 - len(seqs(got, "a"))
    assert seqs(got, "a")[-1] == 199


@pytest.mark.parametrize("policy", [Policy.LATEST, Policy.BOUNDED])
def test_file_under_a_lossy_policy_is_captured_when_its_media_time_says(benches: list[Bench], policy: Policy) -> None:
    medium = Medium(10)
    benches.append(bench := Bench(medium, policy))
    headers = [packet.message.header for packet in take(bench.receiver, {"a"}) if isinstance(packet.message, Frame)]
    bench.join()
    assert headers[-1].frame == 9
    for header in headers:
        assert header.capture_mono_ns >= medium.began_ns + header.frame * medium.interval_s * 1e9 - 1e6


def test_playing_goes_on_at_its_own_rate_where_timestamps_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "LONGEST_PAUSE_S", 0.1)
    medium = Medium(6)
    medium.times = [0.0, 3600.0, 3600.04, 7.0, 7.04, 7.08]
    wake_sender, wake_receiver = socket.socketpair()
    with wake_sender, wake_receiver:
        reader = Reader(medium, wake_sender, paced=False)
        reader.start()
        reader.join(15)
    arrived = {grab.pts: grab.mono_ns for grab in reader.pictures}
    assert list(arrived) == medium.times, "none is waited for that is an hour away"
    assert arrived[3600.04] - arrived[0.0] >= 0.14e9 - 1e6
    assert arrived[7.08] - arrived[3600.04] >= 0.08e9 - 1e6


def test_stop_does_not_wait_for_the_next_frame_of_a_file_that_is_played(
    benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "LONGEST_PAUSE_S", 3600.0)
    medium = Medium(2)
    medium.interval_s = 3600.0
    benches.append(bench := Bench(medium, Policy.LATEST))
    wait_until(lambda: medium.grabs == 2)
    bench.stop(gentle=True)
    assert seqs(list(take(bench.receiver, {"a"})), "a") == [0]
    assert bench.join().queues["a"].entered == 1


@pytest.mark.parametrize("hang_in_open", [True, False])
def test_hanging_medium_does_not_hold_up_the_stop(benches: list[Bench], hang_in_open: bool) -> None:
    medium = Medium(0, then="hang", hang_in_open=hang_in_open)
    benches.append(bench := Bench(medium, Policy.BOUNDED))
    bench.stop(gentle=True)
    got = list(take(bench.receiver, {"a"}))
    last = bench.join()
    assert [packet.message for packet in got] == [EndOfSource(session=SESSION, source="a", reason="stopped")]
    assert last.state == "drained"
    assert medium.closed.is_set()


class HangingCamera:
    """A camera whose driver hangs until ``released``, while it is opened or read."""

    frames, notice = 0, ""

    def __init__(self, place: str, released: threading.Event) -> None:
        self._place, self._released = place, released
        self._hang("open")

    def _hang(self, place: str) -> None:
        if place == self._place:
            self._released.wait()

    def read(self) -> None:
        self._hang("read")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("place", ["open", "read"])
def test_no_heartbeat_while_a_driver_hangs(benches: list[Bench], monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """The supervisor then restarts the process."""
    monkeypatch.setattr(live, "_HANG_S", 0.1)
    released = threading.Event()
    config = CaptureConfig(open_timeout_s=0.1, read_timeout_s=0.1)
    source = live.LiveSource("cam", lambda: HangingCamera(place, released), config)
    benches.append(bench := Bench(source, Policy.LATEST))
    wait_until(lambda: source.hangs)
    wait_until(lambda: not bench.board.receive_states(4 * BEAT_S))
    released.set()
    end = list(take(bench.receiver, {"a"}))[-1].message
    assert isinstance(end, EndOfSource)
    assert end.error == "cam: opened, but delivers no frame within 0.1 s (read_timeout_s)"
    bench.join()


def test_hanging_driver_does_not_look_dead_while_the_stage_drains(
    benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_HANG_S", 0.1)
    config = CaptureConfig(open_timeout_s=0.1, read_timeout_s=0.1)
    released = threading.Event()
    source = live.LiveSource("cam", lambda: HangingCamera("open", released), config)
    benches.append(bench := Bench(source, Policy.LATEST))
    wait_until(lambda: source.hangs)
    source.close()
    assert not source.hangs
    released.set()
    list(take(bench.receiver, {"a"}))
    bench.join()


def died(policy: Policy, medium: Medium) -> tuple[list[int], Ledger]:
    """Return the journal of a capture that died: six frames captured, three delivered, one dropped, two in flight."""
    row = [0] * SLOTS
    row[ORIGIN] = time.monotonic_ns() - 60_000_000_000
    ledger = Ledger(row)
    for _ in range(6):
        ledger.enter()
    for _ in range(3):
        ledger.deliver()
    if policy is not Policy.LOSSLESS:
        ledger.drop("superseded")
    ledger = Ledger(row)
    resume(ledger, medium, policy)
    return row, ledger


def test_file_goes_on_at_the_first_frame_not_known_to_have_arrived(benches: list[Bench]) -> None:
    medium = Medium(10)
    benches.append(bench := Bench(medium, Policy.LOSSLESS, died(Policy.LOSSLESS, medium)))
    got = list(take(bench.receiver, {"a"}))
    account = bench.join().queues["a"]
    assert [(p.message.header.seq, p.message.header.frame, int(p.picture[0, 0])) for p in got[:-1]] == [
        (seq, seq, seq + 1) for seq in range(3, 10)
    ]
    assert account.closes
    assert (account.entered, account.delivered, account.lost) == (10, 10, {})


def test_file_under_a_lossy_policy_goes_on_after_the_last_frame_captured(benches: list[Bench]) -> None:
    medium = Medium(10)
    benches.append(bench := Bench(medium, Policy.BOUNDED, died(Policy.BOUNDED, medium)))
    got = list(take(bench.receiver, {"a"}))
    account = bench.join().queues["a"]
    assert [(p.message.header.seq, int(p.picture[0, 0])) for p in got[:-1]] == [(seq, seq + 1) for seq in range(6, 10)]
    assert (account.entered, account.delivered, account.dropped, account.lost) == (
        10, 7, {"superseded": 1}, {"crash": 2},
    )  # fmt: skip


def test_live_source_goes_on_counting_on_the_same_clock(benches: list[Bench]) -> None:
    medium = Medium(4, live=True)
    benches.append(bench := Bench(medium, Policy.BOUNDED, died(Policy.BOUNDED, medium)))
    got = list(take(bench.receiver, {"a"}))
    bench.join()
    headers = [p.message.header for p in got[:-1]]
    assert [(header.seq, header.frame) for header in headers] == [(seq, seq) for seq in range(6, 10)]
    assert all(60 < header.pts < 120 for header in headers), "the gap is seen in the timestamps"
    assert [p.picture[0, 0] for p in got[:-1]] == [1, 2, 3, 4], "nothing of it is skipped"


def test_frames_captured_before_a_restart_stay_counted(benches: list[Bench]) -> None:
    """A restarted stage may be stopped before it reads anything again, because everything was delivered."""
    medium = Medium(0, then="hang", hang_in_open=True)
    benches.append(bench := Bench(medium, Policy.LOSSLESS, died(Policy.LOSSLESS, medium)))
    bench.stop(gentle=False)
    account = bench.join().queues["a"]
    assert (account.entered, account.delivered, account.in_flight) == (6, 3, 3)


def test_restart_at_the_end_of_a_file_ends_at_once(benches: list[Bench]) -> None:
    medium = Medium(2)
    benches.append(bench := Bench(medium, Policy.LOSSLESS, died(Policy.LOSSLESS, medium)))
    got = list(take(bench.receiver, {"a"}))
    assert bench.join().state == "drained"
    assert [type(p.message) for p in got] == [EndOfSource]
