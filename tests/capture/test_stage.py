"""The capture loop: pacing, policies and failures."""

from __future__ import annotations

import socket
import time

import pytest

from pipeline.capture import stage
from pipeline.capture.source import Grab
from pipeline.capture.stage import READ_AHEAD, Reader
from pipeline.messages import EndOfSource, Frame
from pipeline.queues import Policy
from tests.capture.bench import CREDITS, Bench, Medium
from tests.conftest import wait_until
from tests.messages import SESSION
from tests.pipeline.queue_ends import seqs, take


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
