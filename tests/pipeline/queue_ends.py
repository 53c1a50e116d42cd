"""Helpers to send and receive at both ends of a queue, for tests of queues and stage loops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from pipeline.messages import EndOfSource, Frame, Packet
from pipeline.queues import Sender
from pipeline.receiver import Receiver
from tests import messages
from tests.conftest import wait_until


def frame(source: str, seq: int, born_ns: int | None = None) -> Packet:
    """A frame of 32x32 px, 16 bit, with its number in every pixel, captured now unless stated otherwise."""
    picture = np.full((32, 32), seq, np.uint16)
    return messages.frame(picture, source, seq, capture_mono_ns=time.monotonic_ns() if born_ns is None else born_ns)


def take(receiver: Receiver, sources: set[str], pause_s: float = 0.0) -> Iterator[Packet]:
    """Yield packets until every source has ended, reporting each as done like a stage does."""
    open_sources = set(sources)
    while open_sources:
        packet = receiver.receive(0.05)
        if packet is None:
            continue
        time.sleep(pause_s)
        receiver.done(packet)
        if isinstance(packet.message, EndOfSource):
            open_sources.discard(packet.message.source)
        yield packet


@contextmanager
def taking(receiver: Receiver, sources: set[str], pause_s: float = 0.0) -> Iterator[list[Packet]]:
    """Receive packets in a thread during the block; the list is complete after it."""
    got: list[Packet] = []
    thread = threading.Thread(target=lambda: got.extend(take(receiver, sources, pause_s)), daemon=True)
    thread.start()
    yield got
    thread.join(20)
    assert not thread.is_alive(), "not every source has ended"


def finish(sender: Sender, sources: set[str]) -> None:
    """End the sources and wait until everything is done, checking that the accounts close at all times."""
    for source in sorted(sources):
        sender.offer(messages.end(source))

    def pump() -> None:
        sender.pump(0.02)
        assert all(account.closes for account in sender.accounts().values())

    wait_until(lambda: sender.idle, pause=pump)


def pump_until(sender: Sender, condition: Callable[[], object]) -> None:
    """Pump the sender until a condition holds."""
    wait_until(condition, 30, lambda: sender.pump(0.05))


def seqs(got: list[Packet], source: str) -> list[int]:
    """Return the sequence numbers of the frames of one source."""
    return [p.message.header.seq for p in got if isinstance(p.message, Frame) and p.message.header.source == source]
