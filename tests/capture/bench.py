"""A capture loop in a thread, and the medium that it reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import zmq

from pipeline.accounting import Ledger
from pipeline.capture.source import Grab
from pipeline.capture.stage import CaptureLoop
from pipeline.control_link import Link, StageState, Stop, Switchboard
from pipeline.errors import SourceError
from pipeline.queues import Policy, Sender
from pipeline.receiver import Receiver
from tests.messages import SESSION

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
