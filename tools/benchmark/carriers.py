"""Transports that carry pictures to another thread or process: our queue, and common alternatives."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from pipeline.capture.source import Grab
from pipeline.graph import free_ports
from pipeline.messages import EndOfSource, Packet
from pipeline.queues import Sender
from pipeline.receiver import Receiver
from pipeline.shared_memory import LEAST_BYTES
from pipeline.wire import MAX_PICTURE_BYTES
from tools.benchmark.job import Unmeasured

try:
    import imagezmq
except ImportError:
    imagezmq = None

SESSION, SOURCE = "benchmark", "s0"
CREDITS = 2
_WAIT_S = 60.0

Picture = NDArray[Any]
Carry = Callable[[Picture, int], None]
"""Sends a picture so many times, and returns when the other end has received them all."""

_spawn = multiprocessing.get_context("spawn")


@contextmanager
def memcpy() -> Iterator[Carry]:
    """Copy once in memory: a lower bound for the cost of a transport between processes."""
    places: dict[tuple[Any, ...], Picture] = {}

    def carry(picture: Picture, times: int) -> None:
        place = places.setdefault((picture.shape, picture.dtype), np.empty_like(picture))
        for _ in range(times):
            np.copyto(place, picture)

    yield carry


@contextmanager
def inproc() -> Iterator[Carry]:
    """Send through our queue to another thread."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with _credit_queue(context, "inproc://benchmark") as (sender, endpoint):
        far_end = threading.Thread(target=_receive, args=(endpoint, context), daemon=True)
        far_end.start()
        yield _with_credits(sender)
        _end(sender)
        far_end.join(_WAIT_S)


@contextmanager
def to_process(endpoint: str, slot_bytes: int = MAX_PICTURE_BYTES + 1) -> Iterator[Carry]:
    """Send through our queue to another process.

    Args:
        endpoint: ipc or tcp endpoint to bind.
        slot_bytes: size from which pictures go through shared memory, which only ipc has.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with _credit_queue(context, endpoint, slot_bytes) as (sender, bound):
        far_end = _spawn.Process(target=_receive, args=(bound,), daemon=True)
        far_end.start()
        yield _with_credits(sender)
        _end(sender)
        far_end.join(_WAIT_S)


@contextmanager
def mp_queue() -> Iterator[Carry]:
    """Send through ``multiprocessing.Queue``, which pickles the array."""
    queue: Queue[Picture | int | None] = _spawn.Queue()
    mine, theirs = _spawn.Pipe()
    far_end = _spawn.Process(target=_get, args=(queue, theirs), daemon=True)
    far_end.start()

    def carry(picture: Picture, times: int) -> None:
        for _ in range(times):
            queue.put(picture)
        queue.put(0)
        if not mine.poll(_WAIT_S):
            raise Unmeasured("multiprocessing.Queue: the other process does not answer")
        mine.recv_bytes()

    yield carry
    queue.put(None)
    far_end.join(_WAIT_S)


@contextmanager
def image_zmq() -> Iterator[Carry]:
    """Send with the package imagezmq (MIT licence) over tcp, with a reply to every picture (its default).

    Raises:
        Unmeasured: the package is missing.
    """
    if imagezmq is None:
        raise Unmeasured("imagezmq is not installed (pip install imagezmq)")
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    far_end = _spawn.Process(target=_reply, args=(address,), daemon=True)
    far_end.start()
    sender = imagezmq.ImageSender(connect_to=address)

    def carry(picture: Picture, times: int) -> None:
        for _ in range(times):
            sender.send_image("benchmark", picture)

    yield carry
    sender.send_image("end", np.zeros((1, 1), np.uint8))
    sender.close()
    far_end.join(_WAIT_S)


def carriers(folder: Path) -> dict[str, Callable[[], AbstractContextManager[Carry]]]:
    """Return all transports by name; ``folder`` is for Unix sockets."""
    return {
        "memcpy": memcpy,
        "queue inproc": inproc,
        "queue ipc, slots": lambda: to_process(f"ipc://{folder}/slots", slot_bytes=1),
        "queue ipc, socket": lambda: to_process(f"ipc://{folder}/socket"),
        "queue tcp": lambda: to_process("tcp://127.0.0.1:*"),
        "multiprocessing.Queue": mp_queue,
        "imagezmq": image_zmq,
    }


@contextmanager
def _credit_queue(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str, slot_bytes: int = LEAST_BYTES
) -> Iterator[tuple[Sender, str]]:
    sender = Sender(context, endpoint, session=SESSION, slot_bytes=slot_bytes)
    try:
        yield sender, sender.endpoint
    finally:
        sender.close()
        context.destroy(0)


def _with_credits(sender: Sender) -> Carry:
    captured = 0

    def carry(picture: Picture, times: int) -> None:
        nonlocal captured
        for _ in range(times):
            now = time.monotonic_ns()
            bit_depth = 8 * picture.itemsize
            grab = Grab(picture, captured, captured / 25, now, now, bit_depth)
            sender.offer(grab.packet(SESSION, SOURCE, captured))
            captured += 1
            _pump(sender, lambda: not sender.waiting())
        _pump(sender, lambda: sender.idle)

    return carry


def _end(sender: Sender) -> None:
    sender.offer(Packet(EndOfSource(session=SESSION, source=SOURCE, reason="finished")))
    _pump(sender, lambda: sender.idle)


def _pump(sender: Sender, until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not until():
        sender.pump(0.1)
        if time.monotonic() > deadline:
            raise Unmeasured(f"{sender.endpoint}: the other end does not receive")


def _receive(endpoint: str, context: zmq.Context[zmq.Socket[bytes]] | None = None) -> None:
    receiver = Receiver(context or zmq.Context(), endpoint, SESSION, CREDITS)
    while True:
        packet = receiver.receive(1.0)
        if packet is None:
            continue
        receiver.done(packet)
        if isinstance(packet.message, EndOfSource):
            break
    receiver.close()


def _get(queue: Queue[Picture | int | None], answer: Connection) -> None:
    while (came := queue.get()) is not None:
        if isinstance(came, int):
            answer.send_bytes(b"")


def _reply(address: str) -> None:
    hub = imagezmq.ImageHub(open_port=address)
    while True:
        name, _ = hub.recv_image()
        hub.send_reply()
        if name == "end":
            break
    hub.close()
