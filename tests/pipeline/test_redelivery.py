"""Queues whose ends die: lossless frames are redelivered once, and frames that may be lost are counted."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zmq

from pipeline.queues import MAX_CRASHES, Policy, Sender
from pipeline.receiver import Receiver
from pipeline.shared_memory import LEAST_BYTES
from tests.conftest import ROOT, wait_until
from tests.messages import SESSION, end
from tests.pipeline.queue_ends import finish, frame, pump_until, seqs, taking


class Way(NamedTuple):
    endpoint: str
    slot_bytes: int = LEAST_BYTES

    def sender(self, context: zmq.Context, **settings: Any) -> Sender:
        return Sender(context, self.endpoint, slot_bytes=self.slot_bytes, **settings)


@pytest.fixture(params=["ipc", "ipc, slots", "tcp"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    ipc = f"ipc://{tmp_path}/q"
    return {"ipc": Way(ipc), "ipc, slots": Way(ipc, slot_bytes=1), "tcp": Way("tcp://127.0.0.1:*")}[request.param]


HOLDS = """
import sys, time, zmq
from pipeline.receiver import Receiver
receiver = Receiver(zmq.Context(), sys.argv[1], "test", credits=2)
packets = []
while len(packets) < 2:
    packet = receiver.receive(1.0)
    packets += [packet] if packet is not None else []
print("holds two", flush=True)
time.sleep(60)
"""


def kill_receiver_holding_two(sender: Sender) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, sender.endpoint], stdout=subprocess.PIPE, cwd=ROOT) as child:
        before = sender.waiting()
        pump_until(sender, lambda: sender.waiting() == before - 2)
        assert child.stdout is not None
        assert child.stdout.readline() == b"holds two\n"
        child.kill()
    pump_until(sender, lambda: sender._identity == b"")


def test_frames_survive_the_first_death_of_a_receiver(context: zmq.Context, way: Way) -> None:
    sender = way.sender(context)
    for seq in range(5):
        sender.offer(frame("a", seq))
    kill_receiver_holding_two(sender)
    account = sender.account("a")
    assert account.closes
    assert (account.in_flight, dict(account.lost)) == (5, {})
    receiver = Receiver(context, sender.endpoint, SESSION)
    with taking(receiver, {"a"}) as got:
        finish(sender, {"a"})
    assert seqs(got, "a") == [0, 1, 2, 3, 4]
    assert sender.account("a").delivered == 5
    receiver.close()
    sender.close()


def test_frames_outstanding_at_two_deaths_are_lost(context: zmq.Context, way: Way) -> None:
    sender = way.sender(context)
    packets = [frame("a", seq) for seq in range(5)]
    for packet in packets:
        sender.offer(packet)
    for _ in range(MAX_CRASHES):
        kill_receiver_holding_two(sender)
    account = sender.account("a")
    assert account.closes
    assert (account.in_flight, dict(account.lost)) == (3, {"crash": 2})
    assert [sender.handed_over(packet) for packet in packets] == [True, True, False, False, False]
    receiver = Receiver(context, sender.endpoint, SESSION)
    with taking(receiver, {"a"}) as got:
        finish(sender, {"a"})
    assert seqs(got, "a") == [2, 3, 4]
    receiver.close()
    sender.close()


@pytest.mark.parametrize("policy", [Policy.LATEST, Policy.BOUNDED])
def test_outstanding_frames_of_live_sources_are_lost(context: zmq.Context, way: Way, policy: Policy) -> None:
    sender = way.sender(context, policies={"a": policy}, staleness_s=60)
    receiver = Receiver(context, sender.endpoint, SESSION, credits=2)
    pump_until(sender, lambda: sender._credits == 2)
    for seq in range(2):
        sender.offer(frame("a", seq))
    pump_until(sender, lambda: receiver.receive(0.1) is not None)
    receiver.close()
    pump_until(sender, lambda: sender.account("a").lost)
    sender.offer(frame("a", 2))
    again = Receiver(context, sender.endpoint, SESSION)
    with taking(again, {"a"}) as got:
        finish(sender, {"a"})
    assert seqs(got, "a") == [2]
    account = sender.account("a")
    assert account.closes
    assert (account.delivered, dict(account.lost)) == (1, {"crash": 2})
    again.close()
    sender.close()


def test_end_of_a_source_is_always_redelivered(context: zmq.Context, way: Way) -> None:
    sender = way.sender(context, policies={"a": Policy.LATEST})
    sender.offer(end("a"))
    for _ in range(MAX_CRASHES + 1):
        receiver = Receiver(context, sender.endpoint, SESSION)
        pump_until(sender, lambda: receiver.receive(0.05) is not None)  # noqa: B023
        receiver.close()
        pump_until(sender, lambda: sender._identity == b"")
        assert sender.waiting("a") == 1
    sender.close()


def rebind(context: zmq.Context, way: Way) -> Sender:
    """Retry to bind: ZeroMQ releases an address shortly after the socket is closed, unlike a process that dies."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return way.sender(context)
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def test_receiver_reconnects_to_a_new_sender_and_ignores_duplicates(context: zmq.Context, way: Way) -> None:
    first = way.sender(context)
    address = first.endpoint
    receiver = Receiver(context, address, SESSION, credits=3)
    for seq in range(3):
        first.offer(frame("a", seq))
    held = []

    def take() -> bool:
        first.pump()
        packet = receiver.receive(0.05)
        held.extend([packet] if packet is not None else [])
        return len(held) == 3

    wait_until(take)
    receiver.done(held[0])
    pump_until(first, lambda: first.account("a").delivered == 1)
    first.close()

    second = rebind(context, way._replace(endpoint=address))  # starts at frame 1, since frame 0 is done
    for seq in range(1, 6):
        second.offer(frame("a", seq))
    fresh = []

    def advance() -> bool:
        second.pump()
        packet = receiver.receive(0.05)
        fresh.extend([packet] if packet is not None else [])
        return receiver.duplicates == 2 and len(fresh) == 1

    wait_until(advance)
    assert fresh[0].message.header.seq == 3
    assert second.account("a").delivered == 0, "received is not done"
    for packet in (*held[1:], *fresh):
        receiver.done(packet)
    with taking(receiver, {"a"}) as got:
        finish(second, {"a"})
    assert seqs(got, "a") == [4, 5]
    account = second.account("a")
    assert account.closes
    assert (account.delivered, dict(account.lost)) == (5, {})
    receiver.close()
    second.close()


def test_duplicate_of_a_finished_message_is_done_at_once(context: zmq.Context) -> None:
    sender = Sender(context, "inproc://d")
    receiver = Receiver(context, "inproc://d", SESSION)
    with taking(receiver, {"b"}) as got:
        sender.offer(frame("a", 7))
        finish(sender, {"b"})
    assert seqs(got, "a") == [7]
    sender.offer(frame("a", 7))
    sender.offer(frame("a", 6))
    pump_until(sender, lambda: receiver.receive() is None and sender.idle)
    assert receiver.duplicates == 2
    receiver.close()
    sender.close()


def test_sender_knows_which_messages_were_received(context: zmq.Context) -> None:
    sender = Sender(context, "inproc://h")
    receiver = Receiver(context, "inproc://h", SESSION, credits=2)
    packets = [frame("a", seq) for seq in range(3)]
    for packet in packets:
        sender.offer(packet)
    pump_until(sender, lambda: sender.waiting() == 1)
    assert not any(map(sender.handed_over, packets)), "sent is not received"
    assert receiver.receive(1.0) is not None
    pump_until(sender, lambda: sender.handed_over(packets[0]))
    assert not sender.handed_over(packets[1])
    assert sender.account("a").in_flight == 3
    receiver.close()
    sender.close()


def test_credit_is_returned_before_a_message_is_done(context: zmq.Context) -> None:
    sender = Sender(context, "inproc://c")
    receiver = Receiver(context, "inproc://c", SESSION, credits=1)
    for seq in range(3):
        sender.offer(frame("a", seq))
    held = []
    for waiting in (2, 1, 0):
        pump_until(sender, lambda: sender.waiting() == waiting)  # noqa: B023
        packet = receiver.receive(1.0)
        assert packet is not None
        held.append(packet)
        receiver.release(packet)
    assert sender.account("a").in_flight == 3
    receiver.done(held[0])
    pump_until(sender, lambda: sender.account("a").delivered == 1)
    for _ in range(MAX_CRASHES):  # processed messages are not the cause of the deaths
        receiver.close()
        pump_until(sender, lambda: sender.waiting() == 2)
        receiver = Receiver(context, "inproc://c", SESSION, credits=1)
        for waiting in (1, 0):
            pump_until(sender, lambda: sender.waiting() == waiting)  # noqa: B023
            packet = receiver.receive(1.0)
            assert packet is not None
            receiver.release(packet)
        pump_until(sender, lambda: len(sender._processed) == 2)
    account = sender.account("a")
    assert (account.in_flight, dict(account.lost)) == (2, {})
    receiver.close()
    sender.close()


def test_account_survives_a_killed_sender(tmp_path: Path) -> None:
    """The counts in a journal are exact to the frame whenever the process is killed."""
    from pipeline.accounting import Ledger
    from pipeline.journal import Journal

    code = (
        "import sys; from pathlib import Path\n"
        "from pipeline.accounting import Ledger; from pipeline.journal import Journal\n"
        "ledger = Ledger(Journal(Path(sys.argv[1]), ['a', 'b']).row('b'))\n"
        "for i in range(10**9):\n    ledger.enter(); ledger.drop('stale') if i % 2 else ledger.deliver()\n"
        "    if i == 1000: print('far', flush=True)\n"
    )
    path = tmp_path / "journal"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"far\n"
        time.sleep(0.05)
        child.kill()
    journal = Journal(path, ["a", "b"])
    account = Ledger(journal.row("b")).account()
    assert account.closes
    assert account.entered > 1000
    assert account.in_flight in (0, 1)
    assert account.delivered - account.dropped["stale"] in (0, 1)
    assert Ledger(journal.row("a")).account().entered == 0
