"""Pictures through shared memory: they arrive unchanged, and invalid offers and positions are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from pipeline import shared_memory
from pipeline.messages import Frame, Packet
from pipeline.queues import Sender
from pipeline.receiver import Receiver
from pipeline.shared_memory import Offer, Place, SlotPool, SlotReader
from pipeline.wire import WireError, decode, encode, encode_struct
from tests import messages
from tests.conftest import ROOT
from tests.messages import SESSION
from tests.pipeline.queue_ends import finish, frame, seqs, taking

SIDE = 512  # 512 KiB of 16 bit
KEY = ("a", 0)


def small(seq: int) -> Packet:
    return frame("a", seq)


def large(seq: int, side: int = SIDE, source: str = "a") -> Packet:
    return messages.frame(np.full((side, side), seq, np.uint16), source, seq)


def says(value: object) -> bytes:
    return encode_struct(value)  # type: ignore[arg-type]


@pytest.fixture
def queue(context: zmq.Context, tmp_path: Path) -> Iterator[tuple[Sender, Receiver]]:
    sender = Sender(context, f"ipc://{tmp_path}/q")
    receiver = Receiver(context, sender.endpoint, SESSION, credits=3)
    yield sender, receiver
    receiver.close()
    sender.close()


def check(got: list[Packet], count: int) -> None:
    frames = [packet for packet in got if isinstance(packet.message, Frame)]
    assert seqs(got, "a") == list(range(count))
    for packet in frames:
        assert packet.picture is not None
        assert not packet.picture.flags.writeable
        assert (packet.picture == packet.message.header.seq).all()  # type: ignore[union-attr]


def carry(sender: Sender, receiver: Receiver, packets: list[Packet]) -> list[Packet]:
    """Send frames of source a one after the other, then its end; return what arrives."""
    with taking(receiver, {"a"}) as got:
        for packet in packets:
            sender.offer(packet)
            sender.pump(0.01)
        finish(sender, {"a"})
    return got


def test_large_pictures_use_slots_and_stay_intact(queue: tuple[Sender, Receiver]) -> None:
    sender, receiver = queue
    packets = [large(seq) for seq in range(40)]
    check(carry(sender, receiver, packets), 40)  # all are kept to the end, although their slots are reused
    assert sender._slot_pool.placed >= 30
    assert receiver.duplicates == 0


def test_small_pictures_and_other_transports_use_the_socket(context: zmq.Context, tmp_path: Path) -> None:
    for endpoint, packets in ((f"ipc://{tmp_path}/q", small), ("tcp://127.0.0.1:*", large), ("inproc://q", large)):
        sender = Sender(context, endpoint)
        receiver = Receiver(context, sender.endpoint, SESSION)
        check(carry(sender, receiver, [packets(seq) for seq in range(5)]), 5)
        assert sender._slot_pool.placed == 0
        receiver.close()
        sender.close()


def test_pictures_of_many_sizes_share_a_queue(queue: tuple[Sender, Receiver]) -> None:
    sender, receiver = queue
    sides = [32, SIDE, 2 * SIDE, 400, SIDE, 3 * SIDE, 32, 2 * SIDE] * 4
    got = carry(sender, receiver, [large(seq, side) for seq, side in enumerate(sides)])
    check(got, len(sides))
    assert [p.picture.shape[0] for p in got if p.picture is not None] == sides
    assert sender._slot_pool.placed > 0


TAKES = """
import sys, zmq
from pipeline.messages import Frame
from pipeline.receiver import Receiver
from tests.pipeline.queue_ends import take
receiver = Receiver(zmq.Context(), sys.argv[1], "test")
for packet in take(receiver, {"a"}):
    if isinstance(packet.message, Frame):
        print(packet.message.header.seq, int(packet.picture.min()), int(packet.picture.max()))
receiver.close()
"""


def test_another_process_reads_the_same_pictures(context: zmq.Context, tmp_path: Path) -> None:
    sender = Sender(context, f"ipc://{tmp_path}/q")
    with subprocess.Popen(
        [sys.executable, "-c", TAKES, sender.endpoint], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as child:
        for seq in range(20):
            sender.offer(large(seq))
        finish(sender, {"a"})
        assert child.stdout is not None
        said = child.stdout.read().split("\n")
    assert said[:-1] == [f"{seq} {seq} {seq}" for seq in range(20)]
    assert sender._slot_pool.placed >= 10
    sender.close()


def test_nothing_is_left_open(context: zmq.Context, tmp_path: Path) -> None:
    def blocks() -> int:
        links = list(Path("/proc/self/fd").iterdir())
        fds = sum("irst-slots" in str(link.readlink()) for link in links if link.is_symlink())
        return fds + Path("/proc/self/maps").read_text().count("irst-slots")

    assert blocks() == 0
    sender = Sender(context, f"ipc://{tmp_path}/q")
    for source in "abc":  # one receiver after the other
        receiver = Receiver(context, sender.endpoint, SESSION)
        with taking(receiver, {source}):
            for seq in range(5):
                sender.offer(large(seq, source=source))
                sender.pump(0.02)
            finish(sender, {source})
        assert blocks() == 5  # the descriptor of the sender, and a mapping with a descriptor at each end
        receiver.close()
    sender.close()
    assert blocks() == 0


@pytest.mark.parametrize("call", ["memfd_create", "posix_fallocate"])
def test_pictures_use_the_socket_without_shared_memory(
    queue: tuple[Sender, Receiver], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    sender, receiver = queue
    check(carry(sender, receiver, [large(seq) for seq in range(5)]), 5)
    assert sender._slot_pool.placed == 0
    assert caplog.text.count("no shared memory") == 1


def test_receiver_that_cannot_map_gets_pictures_through_the_socket(
    queue: tuple[Sender, Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory.os, "getpid", lambda: 2**31 - 1)  # a process that does not exist
    sender, receiver = queue
    check(carry(sender, receiver, [large(seq) for seq in range(8)]), 8)
    assert sender._slot_pool.placed == 0


def test_slot_is_reused_only_after_its_message_was_confirmed() -> None:
    slot_pool, told = SlotPool(local=True), []
    reader = SlotReader(True, told.append)
    slot_pool.serve(2)
    first = slot_pool.put(("a", 0), encode(large(0)))
    assert len(first) == 4  # the picture itself and an offer
    reader.take(first)
    slot_pool.mapped(told[0])
    one, two = (slot_pool.put(("a", seq), encode(large(seq))) for seq in (1, 2))
    assert [memoryview(parts[2]).nbytes for parts in (one, two)] == [0, 0]
    assert slot_pool.put(("a", 1), encode(large(1))) == one  # the same message gets the same slot
    three = slot_pool.put(("a", 3), encode(large(3)))
    assert len(three) == 3, "no slot is free: through the socket"
    assert np.frombuffer(reader.take(one)[2], np.uint16).max() == 1
    slot_pool.free(("a", 1))
    four = slot_pool.put(("a", 4), encode(large(4)))
    assert four[3] == one[3]
    assert np.frombuffer(reader.take(two)[2], np.uint16).max() == 2
    assert np.frombuffer(reader.take(four)[2], np.uint16).min() == 4
    reader.close()
    slot_pool.serve(0)


def test_a_sender_elsewhere_cannot_make_a_receiver_open_anything() -> None:
    slot_pool, told = SlotPool(local=True), []
    slot_pool.serve(1)
    offer = slot_pool.put(KEY, encode(large(0)))
    taken = SlotReader(False, told.append).take(offer)
    assert told == []
    with pytest.raises(WireError, match="message of 4 parts"):
        decode(taken, None)
    slot_pool.serve(0)


@pytest.fixture
def reader() -> Iterator[SlotReader]:
    """A reader that has mapped a block with one slot."""
    slot_pool, told = SlotPool(local=True), []
    opened = SlotReader(True, told.append)
    slot_pool.serve(1)
    opened.take(slot_pool.put(KEY, encode(large(0))))
    assert told
    yield opened
    opened.close()
    slot_pool.serve(0)


@pytest.mark.parametrize(
    ("picture", "said", "why"),
    [
        (b"", b"\xc1", "bad message"),
        (b"", says(Place(1 << 40, 0, 16)), "not mapped"),
        (b"x", None, "in a slot and in the message"),
        (b"", "beyond", "of a block of"),
        (b"", says(Place(0, 0, 1 << 40)), "not mapped"),
    ],
)
def test_invalid_positions_are_refused(reader: SlotReader, picture: bytes, said: bytes | str | None, why: str) -> None:
    if said is None:
        said = says(Place(reader._block, 0, 16))
    elif said == "beyond":
        said = says(Place(reader._block, 2 * SIDE * SIDE - 8, 16))
    assert isinstance(said, bytes)
    with pytest.raises(WireError, match=why):
        reader.take([b"", b"", picture, said])


def test_only_sealed_memory_is_mapped(tmp_path: Path) -> None:
    told: list[int] = []
    reader = SlotReader(True, told.append)
    loose = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.truncate(loose, 4096)
    with (tmp_path / "file").open("wb+") as file:
        file.truncate(4096)
        for fd in (loose, file.fileno(), 9999):
            reader.take([b"", b"", b"", says(Offer(os.getpid(), fd, 7, 4096))])
    os.close(loose)
    assert told == []


def test_block_smaller_than_declared_is_not_mapped() -> None:
    told: list[int] = []
    slot_pool, reader = SlotPool(local=True), SlotReader(True, told.append)
    slot_pool.serve(1)
    offer = shared_memory._decoder.decode(bytes(slot_pool.put(KEY, encode(large(0)))[3]))
    assert isinstance(offer, Offer)
    reader.take([b"", b"", b"", says(Offer(offer.pid, offer.fd, offer.block, offer.size + 4096))])
    assert told == []
    reader.take([b"", b"", b"", says(offer)])
    assert told == [offer.block]
    reader.close()
    slot_pool.serve(0)


def test_frames_of_a_leaving_receiver_are_redelivered(queue: tuple[Sender, Receiver], context: zmq.Context) -> None:
    sender, first = queue
    for seq in range(6):
        sender.offer(large(seq))
    seen = []
    while len(seen) < 3:
        sender.pump(0.02)
        packet = first.receive(0.02)
        if packet is not None:
            seen.append(packet)
    first.close()
    second = Receiver(context, sender.endpoint, SESSION)
    with taking(second, {"a"}) as got:
        finish(sender, {"a"})
    check(got, 6)
    assert sender.account("a").delivered == 6
    second.close()
