"""The capture loop goes on after a restart of its stage."""

from __future__ import annotations

import time

from pipeline.accounting import Ledger
from pipeline.capture.stage import ORIGIN, resume
from pipeline.journal import SLOTS
from pipeline.messages import EndOfSource
from pipeline.queues import Policy
from tests.capture.bench import Bench, Medium
from tests.pipeline.queue_ends import take


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
