"""An intruder that can reach the sockets of a running graph and sends invalid messages."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import zmq

from pipeline.control_link import StageState
from pipeline.messages import EndOfSource
from pipeline.receiver import Credit, Done, Leave, Received
from pipeline.wire import MAGIC, MAX_PICTURE_BYTES, encode_struct

REPEATS = 20
SEEN = 50  # sequence numbers in replayed messages
NOISE_BYTES = 300
LINGER_MS = 2000


def endpoints(process: int, runtime: Path) -> list[str]:
    """Return all endpoints on which the processes of a run listen: Unix sockets, or TCP."""
    here = [f"ipc://{path}" for path in sorted(runtime.glob("irst-*/*")) if path.is_socket()]
    for member in psutil.Process(process).children(recursive=True):
        with suppress(psutil.Error):
            here += [
                f"tcp://127.0.0.1:{connection.laddr.port}"
                for connection in member.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            ]
    return here


def talk(endpoint: str, source: str) -> None:
    """Send all kinds of invalid messages to one endpoint.

    These are random bytes, replayed messages of a receiver, forged stage states and an end of source, a message larger
    than any picture, and bytes that are not the ZeroMQ protocol.
    """
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger, dealer.sndhwm = LINGER_MS, 0
        dealer.connect(endpoint)
        for _ in range(REPEATS):
            for parts in _invalid_messages(source):
                dealer.send_multipart(parts)
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = LINGER_MS
        dealer.connect(endpoint)
        dealer.send(bytes(MAX_PICTURE_BYTES + 1))
    for noise in (b"GET / HTTP/1.0\r\n\r\n", random.Random(0).randbytes(4096), b"\xff" + b"\0" * 8 + b"\x7f"):
        with suppress(OSError), _raw(endpoint) as connection:
            connection.sendall(noise)


def _invalid_messages(source: str) -> Iterator[list[bytes]]:
    noise = random.Random(0)
    yield [b""]
    yield [noise.randbytes(NOISE_BYTES)]
    yield [noise.randbytes(NOISE_BYTES) for _ in range(5)]
    for seq in range(SEEN):
        for word in (Received(source, seq), Credit(source, seq), Done(source, seq)):
            yield [encode_struct(word)]
            yield [encode_struct(word)[:-1]]
    yield [encode_struct(Leave())]
    yield [MAGIC, encode_struct(EndOfSource(session="another", source=source, reason="finished"))]
    for state in ("failed", "drained"):
        yield [encode_struct(StageState(stage="detect", state=state, error="an intruder says so", exit_code=5))]


def _raw(endpoint: str) -> socket.socket:
    kind, _, place = endpoint.partition("://")
    if kind == "tcp":
        host, port = place.split(":")
        return socket.create_connection((host, int(port)), 5)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect(place)
    return connection
