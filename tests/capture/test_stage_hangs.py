"""The capture loop stops at once and tells the supervisor when a medium hangs."""

from __future__ import annotations

import threading

import pytest

from pipeline.capture import live, stage
from pipeline.capture.config import CaptureConfig
from pipeline.control_link import BEAT_S
from pipeline.messages import EndOfSource
from pipeline.queues import Policy
from tests.capture.bench import Bench, Medium
from tests.conftest import wait_until
from tests.messages import SESSION
from tests.pipeline.queue_ends import seqs, take


def test_stop_does_not_wait_for_the_next_frame_of_a_file_that_is_played(
    benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "LONGEST_PAUSE_S", 3600.0)
    medium = Medium(2)
    medium.interval_s = 3600.0
    benches.append(bench := Bench(medium, Policy.LATEST))
    wait_until(lambda: medium.grabs == 2)
    bench.stop(gentle=True)
    assert seqs(list(take(bench.receiver, {"a"})), "a") == [0]
    assert bench.join().queues["a"].entered == 1


@pytest.mark.parametrize("hang_in_open", [True, False])
def test_hanging_medium_does_not_hold_up_the_stop(benches: list[Bench], hang_in_open: bool) -> None:
    medium = Medium(0, then="hang", hang_in_open=hang_in_open)
    benches.append(bench := Bench(medium, Policy.BOUNDED))
    bench.stop(gentle=True)
    got = list(take(bench.receiver, {"a"}))
    last = bench.join()
    assert [packet.message for packet in got] == [EndOfSource(session=SESSION, source="a", reason="stopped")]
    assert last.state == "drained"
    assert medium.closed.is_set()


class HangingCamera:
    """A camera whose driver hangs until ``released``, while it is opened or read."""

    frames, notice = 0, ""

    def __init__(self, place: str, released: threading.Event) -> None:
        self._place, self._released = place, released
        self._hang("open")

    def _hang(self, place: str) -> None:
        if place == self._place:
            self._released.wait()

    def read(self) -> None:
        self._hang("read")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("place", ["open", "read"])
def test_no_heartbeat_while_a_driver_hangs(benches: list[Bench], monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """The supervisor then restarts the process."""
    monkeypatch.setattr(live, "_HANG_S", 0.1)
    released = threading.Event()
    config = CaptureConfig(open_timeout_s=0.1, read_timeout_s=0.1)
    source = live.LiveSource("cam", lambda: HangingCamera(place, released), config)
    benches.append(bench := Bench(source, Policy.LATEST))
    wait_until(lambda: source.hangs)
    wait_until(lambda: not bench.board.receive_states(4 * BEAT_S))
    released.set()
    end = list(take(bench.receiver, {"a"}))[-1].message
    assert isinstance(end, EndOfSource)
    assert end.error == "cam: opened, but delivers no frame within 0.1 s (read_timeout_s)"
    bench.join()


def test_hanging_driver_does_not_look_dead_while_the_stage_drains(
    benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_HANG_S", 0.1)
    config = CaptureConfig(open_timeout_s=0.1, read_timeout_s=0.1)
    released = threading.Event()
    source = live.LiveSource("cam", lambda: HangingCamera("open", released), config)
    benches.append(bench := Bench(source, Policy.LATEST))
    wait_until(lambda: source.hangs)
    source.close()
    assert not source.hangs
    released.set()
    list(take(bench.receiver, {"a"}))
    bench.join()
