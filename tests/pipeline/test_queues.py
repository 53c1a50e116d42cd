"""Queues over all three transports: order, drop policies, credits, and accounts that always close."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.accounting import total
from pipeline.messages import EndOfSource, Frame, Packet, key_of
from pipeline.queues import Policy, Sender
from pipeline.receiver import Leave, Ready, Receiver
from pipeline.wire import encode_struct
from tests.conftest import ROOT
from tests.messages import SESSION, end
from tests.pipeline.queue_ends import finish, frame, pump_until, seqs, taking


@pytest.fixture(params=["inproc", "ipc", "tcp"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"inproc": "inproc://q", "ipc": f"ipc://{tmp_path}/q", "tcp": "tcp://127.0.0.1:*"}[request.param]


@pytest.mark.parametrize("policy", list(Policy))
def test_account_closes_with_several_sources_and_a_slow_receiver(
    context: zmq.Context, endpoint: str, policy: Policy
) -> None:
    sources = {"a", "b", "c"}
    sender = Sender(context, endpoint, policies=dict.fromkeys(sources, policy), staleness_s=0.03)
    receiver = Receiver(context, sender.endpoint, SESSION, credits=2)
    with taking(receiver, sources, pause_s=0.002) as got:
        for seq in range(60):
            for source in sorted(sources):
                sender.offer(frame(source, seq))
                sender.pump()
                assert all(account.closes for account in sender.accounts().values())
        finish(sender, sources)

    for source in sources:
        account, numbers = sender.account(source), seqs(got, source)
        assert account.closes
        assert account.entered == 60
        assert account.in_flight == 0
        assert account.delivered == len(numbers)
        assert numbers == sorted(set(numbers)), "in order and without duplicates"
        causes = {"lossless": set(), "latest": {"superseded"}, "bounded": {"stale", "overflow"}}[policy]
        assert set(account.dropped) <= causes
        assert not account.lost
        if policy is Policy.LOSSLESS:
            assert numbers == list(range(60))
        if policy is Policy.LATEST:
            assert numbers[-1] == 59, "the newest frame always arrives"
            assert account.dropped["superseded"] > 0
    for packet in got:
        if isinstance(packet.message, Frame):
            assert packet.picture is not None
            assert (packet.picture == packet.message.header.seq).all()
            assert not packet.picture.flags.writeable
    receiver.close()
    sender.close()


def test_latest_without_any_receiver_keeps_one_frame(context: zmq.Context, endpoint: str) -> None:
    sender = Sender(context, endpoint, policies={"a": Policy.LATEST})
    for seq in range(10):
        sender.offer(frame("a", seq))
    account = sender.account("a")
    assert (account.entered, dict(account.dropped), account.in_flight) == (10, {"superseded": 9}, 1)
    sender.close()
    account = sender.account("a")
    assert account.closes
    assert (dict(account.lost), account.in_flight) == ({"closed": 1}, 0)


def test_bounded_drops_frames_older_than_the_budget(context: zmq.Context) -> None:
    now = [1_000_000_000]
    sender = Sender(
        context, "inproc://b", policies={"a": Policy.BOUNDED}, staleness_s=0.5, clock=lambda: now[0]
    )  # fmt: skip
    sender.offer(frame("a", 0, born_ns=1_000_000_000))
    sender.offer(frame("a", 1, born_ns=1_300_000_000))
    now[0] = 1_500_000_000
    sender.pump()
    assert sender.waiting("a") == 2, "exactly at the budget is not stale"
    now[0] = 1_500_000_001
    sender.pump()
    assert sender.waiting("a") == 1
    now[0] = 1_900_000_000
    sender.pump()
    assert dict(sender.account("a").dropped) == {"stale": 2}
    assert sender.account("a").closes
    sender.close()


def test_bounded_accounts_for_the_transit_time_to_the_next_stage(context: zmq.Context) -> None:
    now, ms = [1_000_000_000], 1_000_000
    in_hand: list[Packet] = []
    sender = Sender(context, "inproc://w", policies={"a": Policy.BOUNDED}, staleness_s=0.5, clock=lambda: now[0])
    receiver = Receiver(context, "inproc://w", SESSION, credits=1)
    for seq in range(5):  # each has a transit time of 200 ms
        sender.offer(frame("a", seq, born_ns=now[0]))
        pump_until(sender, lambda: in_hand or in_hand.extend(filter(None, [receiver.receive()])))
        now[0] += 200 * ms
        receiver.done(in_hand.pop())
        pump_until(sender, lambda: sender.idle)
    for seq in (5, 6, 7):  # the first of them takes the credit
        sender.offer(frame("a", seq, born_ns=now[0]))
    now[0] += 300 * ms
    sender.pump()
    assert sender.waiting("a") == 2, "would arrive at exactly 500 ms"
    now[0] += 1
    sender.pump()
    assert sender.waiting("a") == 1, "the older one would arrive too late; the newest is kept"
    now[0] += 200 * ms
    sender.pump()
    assert dict(sender.account("a").dropped) == {"stale": 2}
    sender.close()
    receiver.close()


def test_credits_of_one_source_are_limited(context: zmq.Context, endpoint: str) -> None:
    sender = Sender(context, endpoint, per_source=1)
    receiver = Receiver(context, sender.endpoint, SESSION, credits=3)
    for seq in range(3):
        sender.offer(frame("a", seq))
    sender.offer(frame("b", 0))
    pump_until(sender, lambda: sender.waiting() == 2)
    got = [receiver.receive(1.0) for _ in range(2)]
    assert {key_of(packet.message) for packet in got if packet} == {("a", 0), ("b", 0)}
    assert receiver.receive(0.1) is None, "a credit is left, but not for this source"
    assert got[0] is not None
    receiver.release(got[0])
    pump_until(sender, lambda: sender.waiting() == 1)
    second = receiver.receive(1.0)
    assert second is not None and key_of(second.message) == ("a", 1)
    sender.close()
    receiver.close()


def test_credits_limit_outstanding_messages(context: zmq.Context, endpoint: str) -> None:
    sender = Sender(context, endpoint)
    receiver = Receiver(context, sender.endpoint, SESSION, credits=3)
    for seq in range(10):
        sender.offer(frame("a", seq))
    pump_until(sender, lambda: sender.waiting() == 7)
    got = [receiver.receive(1.0) for _ in range(3)]
    assert all(packet is not None for packet in got)
    assert receiver.receive(0.1) is None
    assert sender.waiting() == 7
    for packet in got[:2]:
        assert packet is not None
        receiver.done(packet)
    pump_until(sender, lambda: sender.waiting() == 5)
    assert sender.account("a").delivered == 2
    receiver.close()
    sender.close()


LEAVES_AT_ONCE = """
import sys, zmq
from pipeline.messages import EndOfSource
from pipeline.receiver import Receiver
context = zmq.Context()
receiver = Receiver(context, sys.argv[1], "test", credits=2)
while True:
    packet = receiver.receive(1.0)
    if packet is not None:
        receiver.done(packet)
        if isinstance(packet.message, EndOfSource):
            break
receiver.close()
context.term()
"""


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_final_control_messages_of_a_leaving_receiver_count(
    context: zmq.Context, tmp_path: Path, transport: str
) -> None:
    sender = Sender(context, f"ipc://{tmp_path}/q" if transport == "ipc" else "tcp://127.0.0.1:*")
    for seq in range(20):
        sender.offer(frame("a", seq))
    sender.offer(end("a"))
    with subprocess.Popen([sys.executable, "-c", LEAVES_AT_ONCE, sender.endpoint], cwd=ROOT) as child:
        pump_until(sender, lambda: not sender.waiting())
        assert child.wait(30) == 0
        time.sleep(0.2)  # the disconnect event arrives before the credits are read
    pump_until(sender, lambda: sender.idle)
    account = sender.account("a")
    assert account.closes
    assert (account.delivered, dict(account.lost), account.in_flight) == (20, {}, 0)
    sender.close()


def test_invalid_control_messages_are_counted_and_harmless(context: zmq.Context, endpoint: str) -> None:
    sender = Sender(context, endpoint)
    stranger = context.socket(zmq.DEALER)
    stranger.connect(sender.endpoint)
    for body in (b"", b"\xff" * 9, b"\x93\xa4done\xa1x\x05"):
        stranger.send(body)
    stranger.send_multipart([b"a", b"b"])
    pump_until(sender, lambda: sender.rejected == 4)
    receiver = Receiver(context, sender.endpoint, SESSION)
    with taking(receiver, {"a"}) as got:
        sender.offer(frame("a", 0))
        finish(sender, {"a"})
    assert seqs(got, "a") == [0]
    receiver.close()
    sender.close()


@pytest.mark.parametrize("leaves", [True, False])
def test_second_receiver_is_refused_until_the_first_has_left(context: zmq.Context, leaves: bool) -> None:
    """What counts is that the first has said so, not that its connection is closed."""
    sender = Sender(context, "tcp://127.0.0.1:*", refusal=end("a"))
    sender.offer(frame("a", 0))
    first = context.socket(zmq.DEALER)
    first.connect(sender.endpoint)
    first.send(encode_struct(Ready(credits=1)))
    pump_until(sender, lambda: sender.has_receiver)
    if leaves:
        first.send(encode_struct(Leave()))
        pump_until(sender, lambda: not sender.has_receiver)
    second, answers = Receiver(context, sender.endpoint, SESSION), []
    pump_until(sender, lambda: answers.append(second.receive(0.05)) or answers[-1])
    assert isinstance(answers[-1].message, Frame if leaves else EndOfSource)
    second.close()
    sender.close()


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["offer a", "offer b", "take", "done", "leave", "wait"]), max_size=60),
    policy=st.sampled_from(list(Policy)),
)
def test_account_closes_under_random_interleavings(steps: list[str], policy: Policy) -> None:
    """Random interleavings of offers, credits, time steps and receivers that connect and leave."""
    context = zmq.Context()
    now = [0]
    sender = Sender(context, "inproc://p", policies={"a": policy, "b": policy}, staleness_s=1.0, clock=lambda: now[0])
    receiver = Receiver(context, "inproc://p", SESSION, credits=2)
    taken: list[Packet] = []
    passed: set[tuple[str, int]] = set()
    seq = 0
    try:
        for step in steps:
            if step.startswith("offer"):
                sender.offer(frame(step[-1], seq, born_ns=now[0]))
                seq += 1
            elif step == "take":
                packet = receiver.receive(0.01)
                taken += [packet] if packet is not None else []
            elif step == "done" and taken:
                packet = taken.pop(0)
                assert key_of(packet.message) not in passed, "a message was finished twice"
                passed.add(key_of(packet.message))
                receiver.done(packet)
                sender.pump(0.01)  # if the receiver left at once, its last message would be lost
            elif step == "leave":
                receiver.close()
                receiver, taken = Receiver(context, "inproc://p", SESSION, credits=2), []
            elif step == "wait":
                now[0] += 600_000_000
            sender.pump()
            accounts = sender.accounts().values()
            assert all(account.closes and account.in_flight >= 0 for account in accounts)
            assert sum(account.entered for account in accounts) == seq
        sender.close()
        accounts = sender.accounts().values()
        assert all(account.closes and account.in_flight == 0 for account in accounts)
        assert sum(account.delivered + total(account.dropped) + total(account.lost) for account in accounts) == seq
    finally:
        receiver.close()
        sender.close()
        context.destroy(0)


def test_receiver_of_another_run_cannot_take_over_the_queue(context: zmq.Context, endpoint: str) -> None:
    sender = Sender(context, endpoint, session=SESSION)
    receiver = Receiver(context, sender.endpoint, SESSION)
    with taking(receiver, {"a"}) as got:
        sender.offer(frame("a", 0))
        pump_until(sender, lambda: sender.idle)
        intruders = [Receiver(context, sender.endpoint, session) for session in ("another", None)]
        pump_until(sender, lambda: sender.rejected >= 2)
        sender.offer(frame("a", 1))
        finish(sender, {"a"})
    assert seqs(got, "a") == [0, 1]
    for intruder in intruders:
        assert intruder.receive() is None
        intruder.close()
    receiver.close()
    sender.close()
