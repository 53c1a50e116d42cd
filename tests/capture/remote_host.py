"""A camera host as a real process, and readers for its frames."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import zmq

from pipeline.capture.config import CaptureConfig, ReconnectConfig
from pipeline.messages import Packet
from pipeline.wire import encode
from tests.capture.streams import Reading
from tests.conftest import ROOT
from tests.messages import frame

SCENE = "test://demo?width=96&height=96&frames=8"
ENDLESS = "test://demo?width=96&height=96&frames=20000&fps=50&live=1"
QUICK = CaptureConfig(
    open_timeout_s=10, read_timeout_s=2, reconnect=ReconnectConfig(initial_s=0.05, max_s=0.2, give_up_s=30)
)

Read = Callable[[str, CaptureConfig], Reading]


class Serving:
    """``python -m pipeline.serve`` in a separate process."""

    def __init__(self, *words: str, bind: str = "tcp://127.0.0.1:*") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.serve", *words, "--bind", bind],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        self.url = "zmq+" + self.first_line.split(" at ")[-1].strip()

    def finish(self) -> tuple[int, str, str]:
        out, errors = self.process.communicate(timeout=30)
        return self.process.returncode, out, errors


@contextmanager
def serving(*words: str, **options: str) -> Iterator[Serving]:
    server = Serving(*words, **options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


class Impostor:
    """A ROUTER socket that sends every peer the given message parts, one message per connection."""

    def __init__(self, context: zmq.Context, *answers: list[bytes]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.url = f"zmq+tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self._answers = list(answers)
        self._seen: set[bytes] = set()

    def serve(self) -> None:
        while self.socket.poll(20):
            who = self.socket.recv_multipart()[0]
            if who not in self._seen and self._answers:
                self._seen.add(who)
                for parts in self._answers.pop(0):
                    self.socket.send_multipart([who, *parts])


def bytes_of(packet: Packet) -> list[bytes]:
    return [bytes(part) for part in encode(packet)]


PICTURE = np.zeros((32, 32), np.uint16)
GOOD = bytes_of(frame(PICTURE))
