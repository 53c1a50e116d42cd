"""Reconnection and back-off, with simulated connections."""

from __future__ import annotations

import errno

import cv2
import numpy as np
import pytest
import zmq

from pipeline.capture.config import CaptureConfig, ReconnectConfig
from pipeline.capture.live import LiveSource
from pipeline.errors import SourceError

PICTURE = np.zeros((32, 32), np.uint16)


class Connection:
    """Delivers a given number of frames, then is lost."""

    frames, notice = 0, ""

    def __init__(self, pictures):
        self._left, self.closed = pictures, False

    def read(self):
        self._left -= 1
        return PICTURE if self._left >= 0 else None

    def close(self):
        self.closed = True


class Medium:
    """A sequence of connections; None is a failed attempt, and exceptions are raised."""

    def __init__(self, *pictures):
        self._plan, self.made = iter(pictures), []

    def connect(self):
        pictures = next(self._plan, None)
        if pictures is None:
            raise SourceError("cam: no answer")
        if isinstance(pictures, Exception):
            raise pictures
        self.made.append(Connection(pictures))
        return self.made[-1]


def live(medium, monkeypatch, seen=False, **reconnect):
    """Return a source and the list of its back-off waits, which return immediately."""
    config = CaptureConfig(reconnect=ReconnectConfig(**reconnect), bit_depth=14)
    source = LiveSource("cam", medium.connect, config, seen=seen)
    waits = []
    monkeypatch.setattr(source._closed, "wait", lambda seconds: waits.append(seconds) or source._closed.is_set())
    source.open()
    return source, waits


def test_back_off_doubles_up_to_the_maximum_and_resets_after_a_frame(monkeypatch):
    medium = Medium(1, None, None, None, None, 2, None, 1)
    source, waits = live(medium, monkeypatch, initial_s=1, max_s=5)
    assert [source.grab().frame for _ in range(4)] == [0, 1, 2, 3]
    assert waits == [1, 2, 4, 5, 1]
    assert source.reconnects == 2
    assert [connection.closed for connection in medium.made] == [True, True, False]


def test_connection_without_a_frame_does_not_count_as_reconnected(monkeypatch):
    source, waits = live(Medium(1, 0, 0, 0, 1), monkeypatch, initial_s=1, max_s=60)
    assert source.grab().frame == 0
    assert source.grab().frame == 1
    assert waits == [1, 2, 4]
    assert source.reconnects == 1


@pytest.mark.parametrize(
    "trouble",
    [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError(), zmq.ZMQError(errno.EMFILE), cv2.error("cv")],
    ids=lambda trouble: type(trouble).__name__,
)
def test_trouble_of_this_machine_while_reconnecting_does_not_end_the_retries(monkeypatch, trouble):
    source, waits = live(Medium(1, trouble, trouble, 1), monkeypatch, initial_s=1, max_s=5)
    assert [source.grab().frame for _ in range(2)] == [0, 1]
    assert waits == [1, 2]


def test_trouble_of_this_machine_at_the_first_connection_is_one_line_that_names_the_source(monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device", "/tmp/irst\nx")
    with pytest.raises(SourceError, match=r"^cam: OSError: \[Errno 28\] No space left on device: '/tmp/irst\\nx'$"):
        live(Medium(full), monkeypatch)


def test_source_that_never_delivers_a_frame(monkeypatch):
    source, _ = live(Medium(0, 1), monkeypatch)
    with pytest.raises(SourceError, match=r"^cam: opened, but delivers no frame within 5 s \(read_timeout_s\)$"):
        source.grab()


def test_source_seen_before_is_reconnected_from_the_start(monkeypatch):
    source, waits = live(Medium(None, 0, None, 1), monkeypatch, seen=True, initial_s=1, max_s=5)
    assert source.state == "reconnecting"
    assert source.grab().frame == 0
    assert (source.state, waits) == ("open", [1, 2, 4])


def test_source_seen_before_gives_up_after_give_up_s(monkeypatch):
    with pytest.raises(SourceError, match=r"^cam: no answer \(lost 0\.0 s ago, gave up\)$"):
        live(Medium(None), monkeypatch, seen=True, give_up_s=1e-9)


def test_replayable_source_seen_before_must_still_connect():
    source = LiveSource("cam", Medium(None).connect, CaptureConfig(), replays=True, seen=True)
    with pytest.raises(SourceError, match=r"^cam: no answer$"):
        source.open()


def test_giving_up_reports_the_last_reason(monkeypatch):
    source, _ = live(Medium(1), monkeypatch, give_up_s=1e-9)
    source.grab()
    with pytest.raises(SourceError, match=r"^cam: no answer \(lost 0\.0 s ago, gave up\)$"):
        source.grab()


def test_giving_up_on_a_device_that_opens_but_delivers_nothing(monkeypatch):
    source, _ = live(Medium(1, 0, 0, 1), monkeypatch, give_up_s=1e-9)
    source.grab()
    with pytest.raises(SourceError, match=r"^cam: opened, but delivers no frame \(lost 0\.0 s ago, gave up\)$"):
        source.grab()


def test_close_releases_the_connection(monkeypatch):
    medium = Medium(5)
    source, _ = live(medium, monkeypatch)
    assert source.grab().bit_depth == 14
    source.close()
    source.close()
    assert (medium.made[0].closed, source.state, source.grab()) == (True, "closed", None)
